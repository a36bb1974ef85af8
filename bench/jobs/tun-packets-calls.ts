import { measureTunPackets } from './tun-packets.ts';

measureTunPackets(false);
