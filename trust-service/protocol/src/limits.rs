//! Sizes that both ends hold each other to, in bytes.

/// The largest request body that a service reads: a firmware log of 1 MiB in base64, and the rest.
pub const REQUEST_BODY: usize = 2 * 1024 * 1024;
/// The largest response body that a node reads.
pub const RESPONSE_BODY: usize = 256 * 1024;
/// The largest endorsement key certificate, DER.
pub const EK_CERT: usize = 4096;
/// The largest TPMT_PUBLIC of an endorsement key.
pub const EK_PUBLIC: usize = 1024;
/// The largest TPMT_PUBLIC of an attestation key.
pub const AK_PUBLIC: usize = 1024;
/// The largest firmware log.
pub const EVENT_LOG: usize = 1024 * 1024;
/// The largest kernel command line; the kernel's own limit on x86 is 2048.
pub const CMDLINE: usize = 4096;
/// The largest certificate request, DER.
pub const CSR: usize = 4096;
/// The largest init-data, text.
pub const INIT_DATA: usize = 64 * 1024;
/// The largest resource.
pub const RESOURCE: usize = 128 * 1024;
/// The longest text of a refusal that a node reports.
pub const REFUSAL_DETAIL: usize = 2048;
/// JSON values in an attestation's primary evidence, arrays and objects counting as 16: an SEV-SNP report and its certificates, byte
/// by byte, are the longest.
pub const EVIDENCE_VALUES: u32 = 8192;
/// JSON values in each member of its runtime data, counted alike.
pub const RUNTIME_VALUES: u32 = 64;
