//! Every field of a quote in each of its forms: changed and signed anew by whoever signs it, it is refused by a variant of its own; left
//! unsigned, it is refused too. The rows leave no byte out.

use crate::world::{forms, platform, prove_bytes, valid};
use ccnode_evidence::ReportData;
use ccnode_tdx::{
    ChainKind, CollateralValid, Flags, Measurement, MeasurementField as Field, ModuleError, QeIdentityError,
    QuoteError, Rejection, Rtmr, SignatureOf, TcbStatus, TcbSvn, TdBody, TdxPolicy,
};
use ccnode_testkit::tdx::{Collateral, TdQuote};
use ccnode_vectors::assert_tiled;
use std::ops::Range;

type Refused = Box<dyn Fn(&Rejection) -> bool>;

/// Who signs what the field is in.
#[derive(Clone, Copy, PartialEq)]
enum Signer {
    /// The attestation key: header and body.
    AttestationKey,
    /// The PCK: the QE report.
    Pck,
    /// Nobody, or it is a signature.
    None,
}

/// What comes of a change.
enum Due {
    Refused(Refused),
    /// Nothing judges it: it is taken once it is signed, and its claim is another.
    Informs,
    /// Taken once it is signed, and not told either.
    Silent,
}

struct Row {
    field: String,
    bytes: Range<usize>,
    /// Which of the field's bytes are changed, one after the other, and the bits.
    at: Vec<usize>,
    flip: u8,
    signer: Signer,
    due: Due,
}

macro_rules! refused {
    ($pattern:pat $(if $guard:expr)?) => {
        Due::Refused(Box::new(move |got| matches!(got, $pattern $(if $guard)?)))
    };
}

macro_rules! malformed {
    ($pattern:pat) => {
        refused!(Rejection::Malformed($pattern))
    };
}

/// Rows of fields that follow one another.
struct Rows {
    rows: Vec<Row>,
    end: usize,
    signer: Signer,
}

impl Rows {
    /// A field of `len` bytes: each of them changed.
    fn each(&mut self, field: &str, len: usize, flip: u8, due: Due) {
        let start = self.end;
        self.end += len;
        let row = Row {
            field: field.to_owned(),
            bytes: start..self.end,
            at: (start..self.end).collect(),
            flip,
            signer: self.signer,
            due,
        };
        self.rows.push(row);
    }

    /// A field of `len` bytes, of which one is changed.
    fn one(&mut self, field: &str, len: usize, at: usize, flip: u8, due: Due) {
        self.each(field, len, flip, due);
        if let Some(row) = self.rows.last_mut() {
            row.at = vec![row.bytes.start + at];
        }
    }

    /// Another change to the field before.
    fn too(&mut self, at: usize, flip: u8, due: Due) {
        if let Some(Row { field, bytes, signer, .. }) = self.rows.last() {
            let row = Row {
                field: field.clone(),
                bytes: bytes.clone(),
                at: vec![bytes.start + at],
                flip,
                signer: *signer,
                due,
            };
            self.rows.push(row);
        }
    }

    fn measurement(&mut self, due: Field) {
        let field = due.to_string();
        self.each(&field, 48, 1, refused!(Rejection::Measurement { field, .. } if *field == due));
    }
}

#[rustfmt::skip]
fn header(rows: &mut Rows, version: u16) {
    rows.each("version", 2, 0x40, malformed!(QuoteError::Version(_)));
    rows.each("attestation key type", 2, 1, malformed!(QuoteError::AttestationKeyType(_)));
    rows.each("TEE type", 4, 1, malformed!(QuoteError::TeeType(_)));
    // Of SGX: SVNs of QE and PCE.
    rows.each("reserved", 4, 1, Due::Silent);
    rows.each("QE vendor", 16, 1, malformed!(QuoteError::QeVendor(_)));
    rows.each("user data", 20, 1, Due::Silent);
    if version == 5 {
        rows.each("body type", 2, 0x40, malformed!(QuoteError::BodyType(_)));
        rows.each("body size", 4, 1, malformed!(QuoteError::BodySize { .. }));
    }
}

#[rustfmt::skip]
fn body(rows: &mut Rows, body_type: u16) {
    let revoked = |status| refused!(Rejection::TcbStatus { seen, .. } if *seen == status);
    // The module's SVN 5 becomes 1, its version 1 becomes 3, of which there is a level, too; the third component 2 becomes 0.
    rows.one("TEE_TCB_SVN", 16, 0, 4, revoked(TcbStatus::NoMatchingLevel));
    rows.too(1, 8, refused!(Rejection::Module(ModuleError::Unknown { version: 9 })));
    rows.too(2, 2, revoked(TcbStatus::NoMatchingLevel));
    for at in 3..16 {
        rows.too(at, 1, refused!(Rejection::TeeTcbSvn { .. }));
    }
    rows.measurement(Field::MrSeam);
    rows.each("MRSIGNERSEAM", 48, 1, refused!(Rejection::Module(ModuleError::MrSigner { .. })));
    rows.each("SEAMATTRIBUTES", 8, 1, refused!(Rejection::Module(ModuleError::Attributes { .. })));
    rows.each("ATTRIBUTES", 8, 1, refused!(Rejection::Attributes { .. }));
    if let Some(row) = rows.rows.last_mut() {
        row.at.remove(0);
        // LASS is allowed: byte 3 loses SEPT_VE_DISABLE instead, below.
        row.at.remove(2);
        // ICSSD is allowed.
        row.at.remove(1);
    }
    for bit in 0..8 {
        rows.too(0, 1 << bit, refused!(Rejection::Debug { .. }));
    }
    rows.too(2, 2, refused!(Rejection::Attributes { .. }));
    rows.too(3, 0x10, refused!(Rejection::Attributes { .. }));
    rows.one("XFAM", 8, 0, 1, refused!(Rejection::Xfam { .. }));
    rows.too(1, 4, refused!(Rejection::Xfam { .. }));
    for at in 3..8 {
        rows.too(at, 0x10, refused!(Rejection::Xfam { .. }));
    }
    for field in [Field::MrTd, Field::MrConfigId, Field::MrOwner, Field::MrOwnerConfig] {
        rows.measurement(field);
    }
    for rtmr in Rtmr::ALL {
        rows.measurement(Field::Rtmr(rtmr));
    }
    rows.each("REPORTDATA", 64, 1, refused!(Rejection::ReportData { .. }));
    if body_type > 2 {
        rows.one("TEE_TCB_SVN2", 16, 0, 4, revoked(TcbStatus::NoMatchingLevel));
        rows.too(1, 8, refused!(Rejection::Module(ModuleError::Unknown { version: 9 })));
        rows.too(2, 2, revoked(TcbStatus::NoMatchingLevel));
        for at in 3..16 {
            rows.too(at, 1, refused!(Rejection::TeeTcbSvn { .. }));
        }
        rows.measurement(Field::MrServiceTd);
    }
    if body_type > 3 {
        rows.each("VM index", 1, 1, Due::Silent);
        rows.each("TD id", 32, 1, Due::Silent);
        rows.each("device information", 48, 1, Due::Silent);
        rows.measurement(Field::InitServiceTd);
        rows.each("attributes of the initial service TD", 8, 1, Due::Silent);
        rows.each("CPUSVN of the launch", 16, 1, Due::Silent);
        rows.each("TEE_TCB_SVN of the launch", 16, 1, Due::Silent);
        rows.each("model of the launch", 12, 1, Due::Silent);
        rows.measurement(Field::CurrentServiceTd);
        rows.each("attributes of the current service TD", 8, 1, Due::Silent);
    }
}

#[rustfmt::skip]
fn qe_report(rows: &mut Rows) {
    // TCB of the machine, which the PCK certificate stands for.
    rows.each("QE.CPUSVN", 16, 1, Due::Silent);
    rows.each("QE.MISCSELECT", 4, 1, refused!(Rejection::QeIdentity(QeIdentityError::MiscSelect { .. })));
    rows.each("QE.reserved", 28, 1, Due::Silent);
    rows.each("QE.ATTRIBUTES", 8, 1, refused!(Rejection::QeIdentity(QeIdentityError::Attributes { .. })));
    rows.too(0, 2, refused!(Rejection::QeIdentity(QeIdentityError::Debug { .. })));
    // XFRM, which Intel's identity masks out.
    rows.each("QE.ATTRIBUTES.XFRM", 8, 1, Due::Informs);
    // Any enclave of Intel's signer, product and SVN is taken.
    rows.each("QE.MRENCLAVE", 32, 1, Due::Informs);
    rows.each("QE.reserved 2", 32, 1, Due::Silent);
    rows.each("QE.MRSIGNER", 32, 1, refused!(Rejection::QeIdentity(QeIdentityError::MrSigner { .. })));
    rows.each("QE.reserved 3", 96, 1, Due::Silent);
    rows.each("QE.ISVPRODID", 2, 1, refused!(Rejection::QeIdentity(QeIdentityError::IsvProdId { .. })));
    rows.one("QE.ISVSVN", 2, 0, 4, refused!(Rejection::QeIdentity(QeIdentityError::IsvSvn { seen: 2, .. })));
    rows.each("QE.reserved 4", 60, 1, Due::Silent);
    rows.each("QE.REPORTDATA", 64, 1, refused!(Rejection::AttestationKey { .. }));
}

fn rows(quote: &TdQuote, chain: usize) -> (Vec<Row>, Range<usize>, Range<usize>) {
    let mut rows = Rows { rows: vec![], end: 0, signer: Signer::AttestationKey };
    header(&mut rows, quote.version);
    body(&mut rows, quote.body_type);
    let signed = 0..rows.end;
    rows.signer = Signer::None;
    rows.each("signature data size", 4, 0x80, malformed!(QuoteError::Truncated("the signature data")));
    // A low byte less cuts the signature data, and leaves the rest behind the quote.
    if let Some(row) = rows.rows.last_mut() {
        row.at.remove(0);
        row.at.remove(0);
    }
    rows.too(
        0,
        1,
        malformed!(QuoteError::Truncated(_) | QuoteError::Trailing { .. } | QuoteError::Excess { .. }),
    );
    rows.each("signature", 64, 1, refused!(Rejection::Signature(SignatureOf::Quote)));
    rows.each("attestation key", 64, 1, refused!(Rejection::AttestationKey { .. }));
    rows.each("certification data type", 2, 1, malformed!(QuoteError::CertificationType(_)));
    rows.one(
        "certification data size",
        4,
        0,
        1,
        malformed!(QuoteError::Truncated(_) | QuoteError::Excess { .. }),
    );
    rows.too(3, 1, malformed!(QuoteError::Truncated("the certification data")));
    let qe = rows.end..rows.end + 384;
    rows.signer = Signer::Pck;
    qe_report(&mut rows);
    rows.signer = Signer::None;
    rows.each("QE report's signature", 64, 1, refused!(Rejection::Signature(SignatureOf::QeReport)));
    rows.one(
        "authentication data size",
        2,
        1,
        0x80,
        malformed!(QuoteError::Truncated("the QE's authentication data")),
    );
    rows.each("authentication data", quote.auth_data.len(), 1, refused!(Rejection::AttestationKey { .. }));
    rows.each("PCK chain's type", 2, 2, malformed!(QuoteError::PckChainType(_)));
    rows.one("PCK chain's size", 4, 0, 1, malformed!(QuoteError::Truncated(_) | QuoteError::Excess { .. }));
    rows.too(3, 1, malformed!(QuoteError::Truncated("the certification data")));
    let of_pck = |got: &Rejection| {
        matches!(
            got,
            Rejection::Chain { chain: ChainKind::Pck, .. } | Rejection::Pck(_) | Rejection::NoCrl { .. }
        )
    };
    rows.each(CHAIN, chain, 0x40, Due::Refused(Box::new(of_pck)));
    // A sample of its text: `every_field_of_a_pck_certificate…` has the fields.
    if let Some(row) = rows.rows.last_mut() {
        row.at = row.at.iter().copied().step_by(97).collect();
    }
    (rows.rows, signed, qe)
}

/// The policy that judges all that can be judged, by what this body says.
fn strict(body: &TdBody) -> TdxPolicy {
    let only = |value: Measurement| Some([value].into());
    let mut least = [1; 16];
    least[..3].fill(0);
    let [rtmr0, rtmr1, rtmr2, rtmr3] = body.rtmr;
    TdxPolicy {
        minimum_tee_tcb_svn: Some(TcbSvn(least)),
        attributes_allowed: Flags(1 << 16 | 1 << 27 | 1 << 30),
        mr_seam: only(body.mr_seam),
        mr_signer_seam: only(body.mr_signer_seam),
        mr_td: only(body.mr_td),
        rtmr0: only(rtmr0),
        rtmr1: only(rtmr1),
        rtmr2: only(rtmr2),
        rtmr3: only(rtmr3),
        mr_config_id: only(body.mr_config_id),
        mr_owner: only(body.mr_owner),
        mr_owner_config: only(body.mr_owner_config),
        mr_service_td: [Measurement::ZERO].into(),
        ..TdxPolicy::default()
    }
}

/// What the quote says to whoever asks.
fn judge(bytes: &[u8], collateral: &CollateralValid, policy: &TdxPolicy) -> Result<String, Rejection> {
    let proven = prove_bytes(bytes, Some(collateral))?;
    let mut due = [0; 48];
    due.fill(0x77);
    proven.is_bound_to(&ReportData(due))?;
    policy.check(&proven)?;
    Ok(format!("{:?} {:?}", proven.body(), proven.qe()))
}

#[test]
fn t10_every_field_mutated_has_its_own_rejection() {
    for (form, mut quote) in forms().into_iter().enumerate() {
        quote.td.report_data = [0; 64];
        quote.td.report_data[..48].fill(0x77);
        quote.td.tee_tcb_svn[3..].fill(1);
        quote.td.tee_tcb_svn2[3..].fill(1);
        every_field(&quote, form == 2);
    }
}

const CHAIN: &str = "PCK chain";

/// Whether a byte is of the base64 of the chain's first two certificates. Of the root only its key counts, which is pinned, and nobody
/// signs what stands between certificates.
fn is_in_certificate(raw: &[u8], at: usize) -> bool {
    let line = raw[..at].iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let begun = raw[..at].windows(6).filter(|word| word == b"BEGIN ").count();
    begun < 3 && raw[line] != b'-' && raw[at].is_ascii_alphanumeric()
}

fn every_field(quote: &TdQuote, thorough: bool) {
    let honest = quote.sign(platform());
    let chain = platform().pck_chain().len() + 1;
    let (rows, signed, qe) = rows(quote, chain);
    assert_tiled(honest.len(), rows.iter().map(|row| (row.field.as_str(), row.bytes.clone())));
    let collateral = valid(&Collateral::default(), platform()).unwrap();
    let policy = strict(ccnode_tdx::Quote::parse(&honest).unwrap().unproven_body());
    let good = judge(&honest, &collateral, &policy).unwrap();
    let resigned = |mut raw: Vec<u8>, signer| {
        match signer {
            Signer::AttestationKey => {
                let signature = platform().sign_with_attestation_key(&raw[signed.clone()]);
                raw[signed.end + 4..][..64].copy_from_slice(&signature);
            }
            Signer::Pck => {
                let signature = platform().sign_with_pck(&raw[qe.clone()]);
                raw[qe.end..][..64].copy_from_slice(&signature);
            }
            Signer::None => {}
        }
        raw
    };
    for Row { field, at, flip, signer, due, .. } in rows {
        let ends = [at[0], at[at.len() / 2], at[at.len() - 1]];
        let sampled = |at: &usize| thorough || ends.contains(at);
        for at in at.into_iter().filter(sampled) {
            let what = format!("version {} body {}, {field}, byte {at}", quote.version, quote.body_type);
            let mut raw = honest.clone();
            raw[at] ^= flip;
            if field == CHAIN && !is_in_certificate(&honest, at) {
                // Refused, or of no effect.
                assert!(judge(&raw, &collateral, &policy).map_or(true, |taken| taken == good), "{what}");
                continue;
            }
            let unsigned = judge(&raw, &collateral, &policy).expect_err(&what);
            match (judge(&resigned(raw, signer), &collateral, &policy), &due) {
                (Err(got), Due::Refused(is)) => {
                    assert!(is(&got), "{what}: {got:?}");
                    let wrong = matches!(unsigned, Rejection::Signature(_));
                    assert!(wrong || is(&unsigned), "{what}: {unsigned:?}");
                }
                (Ok(taken), Due::Informs | Due::Silent) => {
                    assert!(matches!(unsigned, Rejection::Signature(_)), "{what}: {unsigned:?}");
                    assert_eq!(taken == good, matches!(due, Due::Silent), "{what}");
                }
                (got, _) => panic!("{what}: {got:?}"),
            }
        }
    }
}
