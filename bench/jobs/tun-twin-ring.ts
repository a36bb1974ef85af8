import { measureTunTwin } from './tun-twin.ts';

measureTunTwin('ring');
