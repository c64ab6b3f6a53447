//! A PCCS: Intel's provisioning certification service, version 4, as a caching service in one's own network offers it.

use crate::http::{Http, MirrorError};
use ccnode_appraise::Shelf;
use ccnode_tdx::{Collateral, PcsResponses};

/// Servers with TDX have PCK certificates of the platform CA; the processor CA is that of single-socket SGX.
const PCK_CRL: &str = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der";
const QE_IDENTITY: &str = "/tdx/certification/v4/qe/identity";
const ROOT_CRL: &str = "/sgx/certification/v4/rootcacrl";

/// The whole collateral of a platform model.
pub(crate) async fn platform(http: &Http, base: &str, fmspc: [u8; 6]) -> Result<Shelf, MirrorError> {
    let tcb = format!("/tdx/certification/v4/tcb?fmspc={}", hex::encode(fmspc));
    let (tcb, qe, pck, root) = tokio::join!(
        http.get(base, &tcb),
        http.get(base, QE_IDENTITY),
        http.get(base, PCK_CRL),
        http.get(base, ROOT_CRL)
    );
    let (tcb, qe, pck, root) = (tcb?, qe?, pck?, root?);
    let collateral = Collateral::from_pcs(&PcsResponses {
        tcb_info: &tcb.body,
        tcb_info_issuer_chain: tcb.header(["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"])?,
        qe_identity: &qe.body,
        qe_identity_issuer_chain: qe.header(["SGX-Enclave-Identity-Issuer-Chain"; 2])?,
        pck_crl: &pck.body,
        pck_crl_issuer_chain: pck.header(["SGX-PCK-CRL-Issuer-Chain"; 2])?,
        root_ca_crl: &root.body,
    });
    let collateral = collateral.map_err(|error| tcb.wrong(error))?;
    if collateral.unproven_fmspc() != Some(fmspc) {
        return Err(tcb.wrong("TCB information of another platform model"));
    }
    let mut shelf = Shelf::default();
    shelf.put_tdx(collateral).map_err(|error| tcb.wrong(error))?;
    Ok(shelf)
}
