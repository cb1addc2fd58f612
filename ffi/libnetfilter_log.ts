/**
 * libnetfilter_log: the messages that configure an NFLOG group. Raw symbols only; libnetfilter_log/libnetfilter_log.h.
 */

import { lazyLibrary } from "./load.ts";

export const libnetfilterLog = lazyLibrary({
  sonames: ["libnetfilter_log.so.1"],
  packages:
    "libnetfilter_log (Debian, Ubuntu: libnetfilter-log1; Fedora, Alpine, Arch: libnetfilter_log)",
  symbols: {
    // struct nlmsghdr *nflog_nlmsg_put_header(char *buf, uint8_t type, uint8_t family, uint16_t qnum);
    nflog_nlmsg_put_header: { args: ["buffer", "u8", "u8", "u16"], returns: "ptr" },
    // int nflog_attr_put_cfg_cmd(struct nlmsghdr *nlh, uint8_t cmd);
    nflog_attr_put_cfg_cmd: { args: ["buffer", "u8"], returns: "i32" },
    // int nflog_attr_put_cfg_mode(struct nlmsghdr *nlh, uint8_t mode, uint32_t range);
    nflog_attr_put_cfg_mode: { args: ["buffer", "u8", "u32"], returns: "i32" },
  },
});
