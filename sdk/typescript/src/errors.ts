// SkeinError is a refusal or failure that the cluster tells. code is one of Connect's (connectrpc.com/docs/protocol): "invalid_argument",
// "unauthenticated", "permission_denied", "not_found", "resource_exhausted", "unavailable", "deadline_exceeded", "unimplemented", "internal", …
export class SkeinError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status = 200, // of HTTP; 200 where a stream had begun, 0 where nothing was answered
    readonly requestId = "",
    readonly retryAfter?: number, // seconds after which it may be worth trying again
    options?: ErrorOptions,
  ) {
    super(`${code}: ${message}`, options);
    this.name = new.target.name;
  }
}

// Disconnected says that the cluster was not reached, or that the connection ended in the middle of an answer.
export class Disconnected extends SkeinError {
  constructor(message: string, cause?: unknown) {
    super("unavailable", message, 0, "", undefined, { cause });
  }
}
