//! Verification of a TD quote: from signatures over the quoting enclave to the platform's TCB.

use crate::chain;
use crate::ecdsa::Point;
use crate::{
    ChainError, ChainKind, CollateralValid, Pck, QeFacts, Quote, Rejection, Root, SignatureOf, Tcb, TdBody,
};
use ccnode_evidence::{Sha256Digest, UnixTime};
use sha2::{Digest as _, Sha256};

/// Proof that a TDX module made this body, and that Intel's quoting enclave on a genuine platform signed it.
///
/// [`verify`] alone makes it. How well the platform is kept is [`tcb`](Self::tcb), where there was collateral; whether all
/// of it is what somebody wants is [`crate::TdxPolicy::check`]'s to say.
#[derive(Clone, Debug)]
pub struct TdxProven {
    version: u16,
    body: TdBody,
    pck: Pck,
    qe: QeFacts,
    root: Sha256Digest,
    tcb: Option<Tcb>,
}

impl TdxProven {
    /// Version of the quote.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// What the TDX module says of the TD.
    pub fn body(&self) -> &TdBody {
        &self.body
    }

    /// The platform, of its PCK certificate.
    pub fn pck(&self) -> &Pck {
        &self.pck
    }

    /// The quoting enclave.
    pub fn qe(&self) -> &QeFacts {
        &self.qe
    }

    /// SHA-256 of the public key of the root that all of it leads to.
    pub fn root(&self) -> Sha256Digest {
        self.root
    }

    /// What the collateral says of the platform; `None` where there was none: then revocation is unknown too.
    pub fn tcb(&self) -> Option<&Tcb> {
        self.tcb.as_ref()
    }
}

/// Verifies a quote under `root` at `now`.
///
/// Without collateral the quoting enclave is held to the signer and product that Intel's TD quoting enclave has always had;
/// revocation and TCB stay unknown.
pub fn verify(
    quote: &Quote<'_>,
    root: &Root,
    collateral: Option<&CollateralValid>,
    now: UnixTime,
) -> Result<TdxProven, Rejection> {
    if let Some(collateral) = collateral {
        collateral.is_under(root)?;
        collateral.current(now)?;
    }
    let (pck, pck_key) = platform(quote, root, collateral, now)?;
    quoting_enclave(quote, &pck_key)?;
    if !Point::from_xy(quote.attestation_key).signed(quote.signed, quote.signature) {
        return Err(Rejection::Signature(SignatureOf::Quote));
    }
    let tcb = match collateral {
        Some(collateral) => Some(judge(collateral, &pck, quote)?),
        None => {
            quote.qe.is_intels().map_err(Rejection::QeIdentity)?;
            None
        }
    };
    let (body, qe) = (quote.body.clone(), quote.qe.clone());
    Ok(TdxProven { version: quote.version, body, pck, qe, root: root.key(), tcb })
}

impl Quote<'_> {
    /// FMSPC of the platform as the PCK certificate that was sent claims it: which collateral to look for. Nothing is proven.
    pub fn unproven_fmspc(&self) -> Result<[u8; 6], Rejection> {
        let fail = |error| Rejection::Chain { chain: ChainKind::Pck, error };
        let certs = chain::read_pem(self.pck_chain).map_err(fail)?;
        let leaf = certs.first().ok_or(fail(ChainError::Length { seen: 0, due: 2 }))?;
        Pck::read(leaf).map(|pck| pck.fmspc).map_err(Rejection::Pck)
    }
}

/// The PCK chain: whose platform, and the key that signs QE reports there.
fn platform(
    quote: &Quote<'_>,
    root: &Root,
    collateral: Option<&CollateralValid>,
    now: UnixTime,
) -> Result<(Pck, Point), Rejection> {
    let fail = |error| Rejection::Chain { chain: ChainKind::Pck, error };
    let certs = chain::read_pem(quote.pck_chain).map_err(fail)?;
    let known_ca = collateral.map(CollateralValid::pck_ca);
    let chain = chain::check(ChainKind::Pck, &certs, root, known_ca, now).map_err(fail)?;
    if let Some(collateral) = collateral {
        collateral.not_revoked(&chain)?;
    }
    let (Some(leaf), Some(facts)) = (certs.first(), chain.leaf()) else {
        return Err(fail(ChainError::Length { seen: 0, due: 2 }));
    };
    Ok((Pck::read(leaf).map_err(Rejection::Pck)?, facts.point.clone()))
}

/// The QE report: signed by the PCK, and vouching for the attestation key.
fn quoting_enclave(quote: &Quote<'_>, pck: &Point) -> Result<(), Rejection> {
    if !pck.signed(quote.qe_report, quote.qe_report_signature) {
        return Err(Rejection::Signature(SignatureOf::QeReport));
    }
    let hash = Sha256::new().chain_update(quote.attestation_key).chain_update(quote.qe_auth_data).finalize();
    let mut computed = [0; 64];
    for (to, from) in computed.iter_mut().zip(hash) {
        *to = from;
    }
    let reported = quote.qe.report_data;
    if reported != computed {
        return Err(Rejection::AttestationKey { reported: reported.into(), computed: computed.into() });
    }
    Ok(())
}

fn judge(collateral: &CollateralValid, pck: &Pck, quote: &Quote<'_>) -> Result<Tcb, Rejection> {
    let info = &collateral.tcb_info;
    let (seen, wanted) = ((info.fmspc.0, info.pce_id.0), (pck.fmspc, pck.pce_id));
    if seen != wanted {
        return Err(Rejection::CollateralPlatform { seen, wanted });
    }
    Tcb::judge(info, &collateral.qe_identity, pck, &quote.body, &quote.qe)
}
