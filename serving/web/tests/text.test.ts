import { describe, expect, test } from "vitest";
import { orientationOf } from "../src/state/upright";
import { csv } from "../src/text/csv";
import { curl, shell } from "../src/text/curl";
import type { Done } from "../src/text/done";
import { python } from "../src/text/python";

const HERE = { url: "http://127.0.0.1:3000", token: false };
const LOOKED: Done = { kind: "classify", files: ["frog.png"], set: "default", threshold: null, exemplars: 0 };
const ENROLLED: Done = { kind: "enrol", set: "mine", label: "Amsel / ü", files: ["a b.png", "c.png"], copied: false };

describe("csv", () => {
  test("a row an image; commas, quotes and line breaks in names are quoted", () => {
    const row = { image: 'a,"b"\n', set: "mine", nearest: "cat", cosine: 0.5, angle: 60, embedding: [0.6, -0.8] };
    expect(csv([row])).toBe('image,set,nearest,cosine,angle_deg,e0,e1\r\n"a,""b""\n",mine,cat,0.5,60,0.6,-0.8\r\n');
  });
});

describe("curl", () => {
  test("classifying, with the limit as it was chosen", () => {
    expect(curl(LOOKED, HERE)).toBe("curl -F image=@frog.png 'http://127.0.0.1:3000/v1/classify?set=default'");
    expect(curl({ ...LOOKED, files: ["frog.png", "ship.png"] }, HERE)).toContain(" \\\n  -F image=@ship.png \\\n  'http");
    expect(curl({ ...LOOKED, threshold: { cosine: 0.92372, fpr: 0.05 } }, HERE)).toContain("&fpr=0.05'");
    expect(curl({ ...LOOKED, threshold: { cosine: 0.92372, fpr: null } }, HERE)).toContain("&threshold=0.9237'");
    expect(curl({ ...LOOKED, exemplars: 3 }, HERE)).toContain("&explain=exemplars&n=3'");
  });
  test("names are quoted for the URL, for curl and for the shell", () => {
    expect(curl(ENROLLED, HERE)).toContain("/v1/sets/mine/classes/Amsel%20%2F%20%C3%BC");
    expect(curl({ ...LOOKED, files: ['a;"b".png'] }, HERE)).toContain(`-F 'image=@"a;\\"b\\".png"'`);
    expect(shell("it's; rm -rf $HOME")).toBe("'it'\\''s; rm -rf $HOME'");
  });
  test("the token is a variable, never itself", () => {
    expect(curl(LOOKED, { ...HERE, token: true })).toContain('"Authorization: Bearer $PROTOZOO_TOKEN"');
    expect(python(LOOKED, { ...HERE, token: true })).toContain('token=os.environ["PROTOZOO_TOKEN"]');
  });
  test("undoing asks for the version that was written", () => {
    const gone: Done = { kind: "delete class", set: "mine", label: "cat", version: 7 };
    expect(curl(gone, HERE)).toContain(`-X DELETE`);
    expect(curl(gone, HERE)).toContain(`-H 'If-Match: "7"'`);
    const fewer: Done = { kind: "delete examples", set: "mine", label: "cat", ids: [4, 5], version: 7 };
    expect(curl(fewer, HERE).split("curl ").length).toBe(3);
    expect(curl(fewer, HERE).match(/If-Match/g)?.length).toBe(1);
  });
});

describe("python", () => {
  test("every kind of action is a call of the client", () => {
    expect(python(LOOKED, HERE)).toContain('service.classify(images, set="default")');
    expect(python(LOOKED, HERE)).toContain("from protozoo import Client");
    expect(python(LOOKED, HERE)).toContain('images = ["frog.png"]');
    expect(python(ENROLLED, HERE)).toContain('service.enrol("mine", "Amsel / ü", images)');
    expect(python({ ...ENROLLED, copied: true }, HERE)).toContain("embeddings=prototype");
    expect(python({ kind: "add", set: "m", label: "c", files: ["x"], version: 3 }, HERE)).toContain("if_match=3");
    expect(python({ kind: "delete set", set: "m", version: 9 }, HERE)).toContain('delete_set("m", if_match=9)');
  });
});

describe("the orientation of a photograph", () => {
  const tagged = (order: "II" | "MM", value: number): DataView => {
    const little = order === "II";
    const bytes = new DataView(new ArrayBuffer(64));
    bytes.setUint16(0, 0xffd8);
    bytes.setUint16(2, 0xffe1);
    bytes.setUint16(4, 34);
    bytes.setUint32(6, 0x45786966); // "Exif", then two zeros
    bytes.setUint16(12, little ? 0x4949 : 0x4d4d);
    bytes.setUint16(14, 42, little);
    bytes.setUint32(16, 8, little);
    bytes.setUint16(20, 1, little);
    bytes.setUint16(22, 0x0112, little);
    bytes.setUint16(24, 3, little);
    bytes.setUint32(26, 1, little);
    bytes.setUint16(30, value, little);
    return bytes;
  };
  test("is read in both byte orders", () => {
    expect(orientationOf(tagged("II", 6))).toBe(6);
    expect(orientationOf(tagged("MM", 3))).toBe(3);
  });
  test("is upright where there is none, or nonsense, or the file is cut short", () => {
    expect(orientationOf(tagged("II", 99))).toBe(1);
    expect(orientationOf(new DataView(tagged("II", 6).buffer, 0, 24))).toBe(1);
    expect(orientationOf(new DataView(new TextEncoder().encode("hello").buffer))).toBe(1);
    expect(orientationOf(new DataView(new ArrayBuffer(0)))).toBe(1);
  });
});
