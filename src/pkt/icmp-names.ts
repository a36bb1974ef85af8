/** ICMP's types and codes by the names that scripts have for them. */

interface Type {
  readonly type: number;
  readonly codes?: Readonly<Record<string, number>>;
}

const TIME_4 = { ttl_exceeded_in_transit: 0, exceeded_ttl: 0, frag_reass_exceeded: 1, exceeded_frag_time: 1 };

const TYPES_4: Readonly<Record<string, Type>> = {
  echo_reply: { type: 0 },
  unreachable: {
    type: 3,
    codes: {
      net_unreachable: 0,
      host_unreachable: 1,
      protocol_unreachable: 2,
      port_unreachable: 3,
      frag_needed: 4,
      source_route_failed: 5,
      net_unknown: 6,
      host_unknown: 7,
      source_host_isolated: 8,
      net_prohibited: 9,
      host_prohibited: 10,
      net_unreachable_for_tos: 11,
      host_unreachable_for_tos: 12,
      packet_filtered: 13,
      comm_prohibited: 13,
      precedence_violation: 14,
      precedence_cutoff: 15,
    },
  },
  source_quench: { type: 4 },
  redirect: {
    type: 5,
    codes: { redirect_net: 0, redirect_host: 1, redirect_net_tos: 2, redirect_host_tos: 3 },
  },
  echo_request: { type: 8 },
  time_exceeded: { type: 11, codes: TIME_4 },
  parameter_problem: { type: 12 },
  timestamp_request: { type: 13 },
  timestamp_reply: { type: 14 },
  information_request: { type: 15 },
  information_reply: { type: 16 },
  address_mask_request: { type: 17 },
  address_mask_reply: { type: 18 },
};

const TYPES_6: Readonly<Record<string, Type>> = {
  unreachable: {
    type: 1,
    codes: {
      net_unreachable: 0,
      no_route: 0,
      admin_prohibited: 1,
      not_neighbour: 2,
      beyond_scope: 2,
      address_unreachable: 3,
      port_unreachable: 4,
      ingress_egress_policy: 5,
      reject_route: 6,
    },
  },
  packet_too_big: { type: 2 },
  time_exceeded: { type: 3, codes: { exceeded_hop_limit: 0, exceeded_frag_time: 1 } },
  parameter_problem: { type: 4, codes: { header_field: 0, unknown_next_header: 1, unknown_option: 2 } },
  echo_request: { type: 128 },
  echo_reply: { type: 129 },
};

/** `type_9 code_1` name any by number. @returns null for a name that this version doesn't have */
export function icmpNumbers(
  version: 4 | 6,
  name: string,
  code: string | null,
): { type: number; code: number } | null {
  const numbered = /^type_(\d+)$/.exec(name);
  const known = (version === 4 ? TYPES_4 : TYPES_6)[name];
  const type = numbered === null ? known?.type : Number(numbered[1]);
  if (type === undefined || type > 255) return null;
  if (code === null) return { type, code: 0 };
  const coded = /^code_(\d+)$/.exec(code);
  const number = coded === null ? known?.codes?.[code] : Number(coded[1]);
  return number === undefined || number > 255 ? null : { type, code: number };
}
