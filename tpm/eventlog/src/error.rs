//! Every way in which bytes are no event log: one variant each, with what was seen.

use ccnode_evidence::HashAlg;

/// The longest digest that a TPM has, in bytes.
pub(crate) const MAX_DIGEST: u16 = 64;

/// Why bytes are not an event log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LogError {
    /// No bytes at all.
    #[error("the event log is empty")]
    Empty,
    /// An ACPI table of the kind that says where a log is.
    #[error("this is the ACPI table `{signature}`, which says where the event log is, and not the log")]
    AcpiTable {
        /// Its signature.
        signature: &'static str,
    },
    /// The bytes end inside an event.
    #[error("the event log ends inside {what} at byte {offset}")]
    Truncated {
        /// Where the unreadable field begins.
        offset: usize,
        /// The field.
        what: &'static str,
    },
    /// The Spec ID header claims to be extended into a register.
    #[error(
        "the event log's header is an event of register {register}; it belongs to register 0, or 1 of a CCEL log"
    )]
    HeaderRegister {
        /// The register.
        register: u32,
    },
    /// The Spec ID header has a digest.
    #[error("the event log's header has a digest; it must be zero")]
    HeaderDigest,
    /// A platform class that no specification knows.
    #[error("the event log's header names platform class {class}; 0 (client) and 1 (server) exist")]
    HeaderClass {
        /// The class.
        class: u32,
    },
    /// A version of the log format that is not read here.
    #[error("the event log is of version {major}.{minor}; version 2.0 is read here")]
    HeaderVersion {
        /// specVersionMajor.
        major: u8,
        /// specVersionMinor.
        minor: u8,
    },
    /// A size of UINTN other than 1 (four bytes) or 2 (eight bytes).
    #[error("the event log's header gives a UINTN the size {size}; 1 and 2 exist")]
    HeaderUintn {
        /// As the header has it.
        size: u8,
    },
    /// The Spec ID header ends inside itself.
    #[error("the event log's header (Spec ID Event03) is too short")]
    HeaderShort,
    /// The Spec ID header goes on after its vendor information.
    #[error("the event log's header has {extra} bytes too many")]
    HeaderLong {
        /// How many.
        extra: usize,
    },
    /// The header names no bank, or more than any TPM has.
    #[error("the event log's header names {count} banks")]
    BankCount {
        /// How many.
        count: u32,
    },
    /// The header gives a known hash another length.
    #[error("the event log's header gives {} digests {size} bytes", alg.name())]
    DigestSize {
        /// The hash.
        alg: HashAlg,
        /// The length that the header gives.
        size: u16,
    },
    /// The header gives a hash that is not known here a length that no digest has.
    #[error(
        "the event log's header gives digests of bank {id:#06x} {size} bytes; 1 to {MAX_DIGEST} are possible"
    )]
    BankSize {
        /// TPM_ALG_ID.
        id: u16,
        /// The length that the header gives.
        size: u16,
    },
    /// The header names a bank twice.
    #[error("the event log's header names bank {id:#06x} twice")]
    BankTwice {
        /// TPM_ALG_ID.
        id: u16,
    },
    /// A register that does not exist.
    #[error("event {event} extends register {register}, which does not exist")]
    Register {
        /// Position of the event.
        event: usize,
        /// The register that it names.
        register: u32,
    },
    /// An event without digests, or with more than the header names banks.
    #[error("event {event} has {count} digests where the header names {banks} banks")]
    DigestCount {
        /// Position of the event.
        event: usize,
        /// How many digests it says it has.
        count: u32,
        /// How many banks there are.
        banks: usize,
    },
    /// A digest of a bank that the header does not name.
    #[error("event {event} has a digest of bank {id:#06x}, which the header does not name")]
    UnnamedBank {
        /// Position of the event.
        event: usize,
        /// TPM_ALG_ID.
        id: u16,
    },
    /// Two digests of one bank.
    #[error("event {event} has two digests of bank {id:#06x}")]
    DigestTwice {
        /// Position of the event.
        event: usize,
        /// TPM_ALG_ID.
        id: u16,
    },
    /// After the padding of a CCEL log comes something else.
    #[error("the padding that begins at byte {offset} is followed by other data")]
    Padding {
        /// Where the padding begins.
        offset: usize,
    },
    /// An event of the node's own log is not EV_IPL.
    #[error("event {event} of the node's own log has type {event_type:#x}, not EV_IPL")]
    OwnType {
        /// Position of the event.
        event: usize,
        /// Its type.
        event_type: u32,
    },
    /// The data of an event of the node's own log are not short printable ASCII.
    #[error("event {event} of the node's own log is not a short ASCII string")]
    OwnData {
        /// Position of the event.
        event: usize,
    },
}
