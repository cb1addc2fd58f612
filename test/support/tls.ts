/**
 * TLS servers with self-signed test certificates for localhost. Key and certificates are in this file, so that tests
 * need no tool to create them. All certificates have the same key.
 *
 *     openssl ca -selfsign -keyfile key.pem -startdate 20200101000000Z -enddate 20200102000000Z ...
 */

import { createSecureServer } from "node:http2";

export const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgzCZ/lG79V3L8NlFu
Ht9jvLSM9OfWk/9GUMz+PACczL6hRANCAAStg3fWK1GBkYsuG6WVmA2aXr3/Nuc4
nO8EdaKuFwf/FWTMeinGaQoBGZzdbaDgg5dJBw8jdkugLe0e8AGs03ej
-----END PRIVATE KEY-----`;

export const certificates = {
  /** From 2026 to 2126. */
  valid: `-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUTfBJvJb6B1Rkucu3S1kCwKOCxXcwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE1MDg1MFoYDzIxMjYxMDI5
MTUwODUwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAStg3fWK1GBkYsuG6WVmA2aXr3/Nuc4nO8EdaKuFwf/FWTMeinGaQoB
GZzdbaDgg5dJBw8jdkugLe0e8AGs03ejo2kwZzAdBgNVHQ4EFgQUIy3g4FpGtHeJ
DMDGNBgciLKGCK0wHwYDVR0jBBgwFoAUIy3g4FpGtHeJDMDGNBgciLKGCK0wDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIgOj2FC42SyLOQETLyeVbN5eLRneAAQHREa2Ou+NVRHzYCIQCP1qXq9X9Y
W3pPFcnUXHEG0NZ3U+sk1j48hNfIc4mAvg==
-----END CERTIFICATE-----`,
  /** Valid on one day in 2020. */
  expired: `-----BEGIN CERTIFICATE-----
MIIBYDCCAQWgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwHhcNMjAwMTAxMDAwMDAwWhcNMjAwMTAyMDAwMDAwWjAUMRIwEAYDVQQDDAls
b2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAStg3fWK1GBkYsuG6WV
mA2aXr3/Nuc4nO8EdaKuFwf/FWTMeinGaQoBGZzdbaDgg5dJBw8jdkugLe0e8AGs
03ejo0gwRjAPBgNVHRMBAf8EBTADAQH/MBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAd
BgNVHQ4EFgQUIy3g4FpGtHeJDMDGNBgciLKGCK0wCgYIKoZIzj0EAwIDSQAwRgIh
AOYZnO6mZAsIL3+YqTJOaFMu1Qiz3cfac3NEjF9n626nAiEA2E74LHZTN4kd2aRe
mdXgrm2547x+kHvMz31VPd++3uQ=
-----END CERTIFICATE-----`,
  /** Not valid before 2125. */
  future: `-----BEGIN CERTIFICATE-----
MIIBYjCCAQmgAwIBAgIBAjAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIhgPMjEyNTAxMDEwMDAwMDBaGA8yMTI2MDEwMTAwMDAwMFowFDESMBAGA1UE
AwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErYN31itRgZGL
LhullZgNml69/zbnOJzvBHWirhcH/xVkzHopxmkKARmc3W2g4IOXSQcPI3ZLoC3t
HvABrNN3o6NIMEYwDwYDVR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhv
c3QwHQYDVR0OBBYEFCMt4OBaRrR3iQzAxjQYHIiyhgitMAoGCCqGSM49BAMCA0cA
MEQCIFPELonQBvy4YJbRJlAQppXjfw6tUlgWl38b9A28btDgAiA8lv4ULc1wSVqQ
pNvDp55nI0dK7M1csCt/+MMo0cx+/Q==
-----END CERTIFICATE-----`,
};

/** Starts an HTTPS server that responds with 200. */
export function tlsServer(cert: string = certificates.valid) {
  return Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    tls: { key, cert },
    fetch: () => new Response("ok"),
  });
}

/** Starts a server for HTTP/2 only: it rejects TLS clients that do not offer h2 (RFC 7301 section 3.2). */
export async function http2Server(): Promise<{ readonly port: number } & Disposable> {
  const server = createSecureServer({ key, cert: certificates.valid, allowHTTP1: false });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { port: address.port, [Symbol.dispose]: () => void server.close() };
}
