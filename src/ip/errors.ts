/** A configuration that can't work; `code` is one of ERR_IP_ADDRESS, _GATEWAY, _ROUTE, _PORT, _LIMIT. */
export class IpConfigError extends Error {
  override readonly name = 'IpConfigError';
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}
