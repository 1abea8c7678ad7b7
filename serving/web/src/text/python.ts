import type { Done, Where } from "./done";

/** The same by the service's own client for Python. */
export function python(done: Done, where: Where): string {
  const token = where.token ? ', token=os.environ["PROTOZOO_TOKEN"]' : "";
  return [
    ...(where.token ? ["import os", ""] : []),
    'from protozoo import Client  # pip install "protozoo[client]"',
    "",
    `with Client(${text(where.url)}${token}) as service:`,
    ...statements(done).map((line) => `    ${line}`),
  ].join("\n");
}

function statements(done: Done): string[] {
  switch (done.kind) {
    case "classify":
      return [
        ...images(done.files),
        `for result in service.classify(images, set=${text(done.set)}${classifying(done)}):`,
        "    print(result)",
      ];
    case "enrol":
      return [...copies(done), ...images(done.files), `print(service.enrol(${names(done)}, images))`];
    case "add":
      return [...images(done.files), `print(service.add_examples(${names(done)}, images, if_match=${done.version}))`];
    case "delete class":
      return [`service.delete_class(${names(done)}, if_match=${done.version})`];
    case "delete set":
      return [`service.delete_set(${text(done.set)}, if_match=${done.version})`];
    case "delete examples":
      return [
        `version = ${done.version}`,
        `for id in [${done.ids.join(", ")}]:`,
        `    version = service.remove_example(${names(done)}, id, if_match=version).version`,
      ];
  }
}

function copies({ copied, set, label }: Extract<Done, { kind: "enrol" }>): string[] {
  if (!copied) return [];
  return [
    "model = service.prototypes()",
    "for name, prototype in zip(model.labels, model.rows):",
    `    if name != ${text(label)}:`,
    `        service.enrol(${text(set)}, name, embeddings=prototype)`,
  ];
}

const WIDTH = 60;

/** The list of files, on one line or on one for each. */
function images(files: readonly string[]): string[] {
  const line = `images = [${files.map(text).join(", ")}]`;
  return line.length <= WIDTH ? [line] : ["images = [", ...files.map((file) => `    ${text(file)},`), "]"];
}

function classifying({ threshold, exemplars }: Extract<Done, { kind: "classify" }>): string {
  const shown = exemplars ? `, exemplars=${exemplars}` : "";
  if (!threshold) return shown;
  return (threshold.fpr === null ? `, threshold=${threshold.cosine.toFixed(4)}` : `, fpr=${threshold.fpr}`) + shown;
}

function names({ set, label }: { set: string; label: string }): string {
  return `${text(set)}, ${text(label)}`;
}

/** JSON's strings are Python's too. */
function text(value: string): string {
  return JSON.stringify(value);
}
