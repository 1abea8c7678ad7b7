/** Requests to the service: its errors as values, and patience where it is busy. */

/** The service answered, and refused. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Nothing answered. */
export class Lost extends Error {}

export interface Request {
  method?: string;
  body?: BodyInit;
  headers?: Record<string, string>;
}

const ATTEMPTS = 4;
const LONGEST_WAIT = 10;

export async function ask(path: string, request: Request, token: string): Promise<unknown> {
  for (let attempt = 1; ; attempt++) {
    const response = await sent(path, request, token);
    if (response.ok) return response.status === 204 ? null : response.json();
    const refused = await refusal(response);
    if (refused.status !== 503 || attempt === ATTEMPTS) throw refused;
    const asked = Number(response.headers.get("Retry-After") ?? attempt);
    await pause(Math.min(Number.isFinite(asked) ? asked : attempt, LONGEST_WAIT));
  }
}

/** Whether the service is there and ready. */
export async function ready(): Promise<boolean> {
  try {
    return (await fetch(address("readyz"), { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

export function address(path: string): URL {
  return new URL(path, document.baseURI);
}

export function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

async function sent(path: string, { method = "GET", body, headers = {} }: Request, token: string): Promise<Response> {
  const all = token ? { ...headers, Authorization: `Bearer ${token}` } : headers;
  try {
    return await fetch(address(path), { method, headers: all, cache: "no-store", ...(body === undefined ? {} : { body }) });
  } catch {
    throw new Lost("the service does not answer");
  }
}

async function refusal(response: Response): Promise<Refused> {
  try {
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    return new Refused(response.status, error.code, error.message);
  } catch {
    return new Refused(response.status, "http_error", `the service answered with HTTP status ${response.status}`);
  }
}
