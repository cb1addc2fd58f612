/** libpcap: compiles tcpdump expressions to BPF programs. Raw symbols only; pcap/pcap.h. */

import { lazyLibrary } from "./load.ts";

export const libpcap = lazyLibrary({
  // The number is 0.8 in Debian and Ubuntu, 1 in other distributions.
  sonames: ["libpcap.so.0.8", "libpcap.so.1"],
  packages: "libpcap (Debian, Ubuntu: libpcap0.8; Fedora, Alpine, Arch: libpcap)",
  symbols: {
    // pcap_t *pcap_open_dead(int linktype, int snaplen);
    pcap_open_dead: { args: ["i32", "i32"], returns: "ptr" },
    // int pcap_compile(pcap_t *p, struct bpf_program *fp, const char *str, int optimize, bpf_u_int32 netmask);
    pcap_compile: { args: ["ptr", "buffer", "cstring", "i32", "u32"], returns: "i32" },
    // int pcap_offline_filter(const struct bpf_program *fp, const struct pcap_pkthdr *h, const u_char *pkt);
    pcap_offline_filter: { args: ["buffer", "buffer", "buffer"], returns: "i32" },
    // char *pcap_geterr(pcap_t *p);
    pcap_geterr: { args: ["ptr"], returns: "cstring" },
    // void pcap_freecode(struct bpf_program *fp);
    pcap_freecode: { args: ["buffer"], returns: "void" },
    // void pcap_close(pcap_t *p);
    pcap_close: { args: ["ptr"], returns: "void" },
    // const char *pcap_lib_version(void);
    pcap_lib_version: { args: [], returns: "cstring" },
  },
});
