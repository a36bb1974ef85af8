import { measureTunTwin } from './tun-twin.ts';

measureTunTwin('calls');
