import { measureTunBridge } from './tun-bridge.ts';

await measureTunBridge(false);
