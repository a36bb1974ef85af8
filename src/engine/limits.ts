/** What one engine may hold, all layers together: sizes in bytes, times in ms. */
import { IP_LIMITS_DEFAULT, type IpLimits } from '../ip/ip.ts';
import { TCP_LIMITS_DEFAULT, type TcpLimits } from '../tcp/tcp.ts';

export type Limits = TcpLimits & IpLimits;

export const LIMITS_DEFAULT: Limits = { ...TCP_LIMITS_DEFAULT, ...IP_LIMITS_DEFAULT };
