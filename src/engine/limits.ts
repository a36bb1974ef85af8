/** What one engine may hold, all layers together: sizes in bytes, times in ms. */
import { IP_LIMITS_DEFAULT, type IpLimits } from '../ip/ip.ts';
import { TCP_LIMITS_DEFAULT, type TcpLimits } from '../tcp/tcp.ts';
import { UDP_LIMITS_DEFAULT, type UdpLimits } from '../udp/udp.ts';

export type Limits = TcpLimits & IpLimits & UdpLimits;

export const LIMITS_DEFAULT: Limits = { ...TCP_LIMITS_DEFAULT, ...IP_LIMITS_DEFAULT, ...UDP_LIMITS_DEFAULT };
