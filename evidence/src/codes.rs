//! The stable codes of every refusal, with the sentence that says what to do next.

use serde::{Deserialize, Serialize};

/// Who decides a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The trust service, while it appraises or releases.
    Service,
    /// The node itself, before or after attestation.
    Node,
}

macro_rules! codes {
    ($($by:ident $variant:ident $text:literal $meaning:literal $action:literal)*) => {
        /// A refusal's stable code. Text, meaning and owner never change; new codes are appended, and each wants a test that
        /// names it (`tests/codes_are_tested.rs`).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $meaning] #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            /// Every code, in the table's order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it is printed and sent: `platform-unknown`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What happened, one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// What to do about it, one sentence.
            pub fn action(self) -> &'static str {
                match self { $(Self::$variant => $action,)* }
            }

            /// Who decides it.
            pub fn by(self) -> By {
                match self { $(Self::$variant => By::$by,)* }
            }
        }
    };
}

codes! {
    Service MalformedRequest "malformed-request" "The request is not what the protocol says." "Use a client of protocol 0.4.0; the detail names the member at fault."
    Service VersionUnsupported "version-unsupported" "The request names a protocol version other than 0.4.0." "Update the node image or the service, so that both speak 0.4.0."
    Service TeeUnsupported "tee-unsupported" "The service does not appraise this kind of evidence." "Use a node whose evidence is one of those that the detail lists."
    Service StockTranscript "stock-transcript" "The client did not offer the ccnode/1 transcript." "Boot a node image with mode = \"ccnode/1\"; or let stock clients in: [stock] of the service's config.toml, docs/stock-clients.md."
    Service SessionUnknown "session-unknown" "The session cookie is missing or was not made by this service." "Nothing: the node starts a new session by itself."
    Service SessionExpired "session-expired" "The session is older than its lifetime." "Nothing: the node starts a new session; if it recurs, look whether the service's clock jumps, or raise `session-lifetime`."
    Service NonceMismatch "nonce-mismatch" "The evidence carries a nonce of another session." "Treat it as a replay: look for who stands between the node and the service."
    Service NonceSpent "nonce-spent" "This session's nonce was used already." "Treat it as a replay unless the node itself repeated a request; it starts a new session by itself."
    Service EkCertMalformed "ek-cert-malformed" "The endorsement key certificate can't be read." "Have the TPM's maker or the hypervisor's operator issue a certificate of the TCG EK profile."
    Service EkUntrusted "ek-untrusted" "No endorsement key root of the pool leads to this TPM's certificate." "If the TPM's maker is one you trust, add its root with `ccnode pool ek-root add`."
    Service EkCertExpired "ek-cert-expired" "The endorsement key certificate, or one above it, is outside its validity." "Renew the certificate, or correct the service's clock."
    Service AkMalformed "ak-malformed" "The attestation key's public area can't be read." "Use an attestation key of a TPM 2.0: TPMT_PUBLIC as the specification marshals it."
    Service AkAttributes "ak-attributes" "The attestation key is not a restricted signing key that can't leave its TPM." "Let the node make its own key: remove what lies at 0x81010002 in its TPM."
    Service AkChanged "ak-changed" "This endorsement key is known with another attestation key; the node is in quarantine." "Find out why the key changed; then `ccnode node approve NAME`."
    Service ActivationFailed "activation-failed" "The node could not prove that its attestation key lives in the TPM of its certificate." "Treat it as an attack, or replace the TPM if it recurs on a new machine."
    Service QuoteMalformed "quote-malformed" "The quote is not a TPMS_ATTEST of type quote with TPM_GENERATED_VALUE." "Treat it as an attack: a TPM does not produce such a quote."
    Service QuoteSignature "quote-signature" "The quote's signature does not verify with the activated attestation key." "Treat it as an attack, or replace the TPM if it recurs."
    Service QuoteNonce "quote-nonce" "The quote is not bound to this session's transcript." "Treat it as a relay or replay: look for who stands between the node and the service."
    Service QuoteSelection "quote-selection" "The quote does not select exactly sha256:0-15." "Use a TPM with a SHA-256 bank and an unmodified ccnode-init."
    Service QuotePcrDigest "quote-pcr-digest" "The PCR values sent are not those that the quote covers." "Nothing: the node reads and quotes again; if it recurs, something extends PCRs meanwhile."
    Service TranscriptMismatch "transcript-mismatch" "What was sent is not what the transcript binds." "Look for who changes requests between the node and the service."
    Service EventLogMalformed "event-log-malformed" "The event log can't be read." "Look at the kept log with `ccnode refusal show`; the firmware may be at fault."
    Service EventLogMismatch "event-log-mismatch" "The event log does not replay to the quoted PCRs." "Compare the kept log with the quoted values; the firmware, or somebody, left events out."
    Service PlatformUnknown "platform-unknown" "PCR 0-3, 6 and 7 match no platform tuple of the pool." "If you expected this platform: `ccnode refusal list` has the refusal's ID; `ccnode platform record --refusal ID`."
    Service ImageUnknown "image-unknown" "PCR 4, 9 and 11-14 match no image tuple of the pool." "If you built this image: `ccnode image register`; otherwise somebody changed the image named as closest."
    Service PairNotAllowed "pair-not-allowed" "Platform and image are both known, but the pool does not allow them together." "Allow the pair with `ccnode pool allow POOL --platform ID --image ID`."
    Service BootEvents "boot-events" "PCR 5 holds an event that is no partition table, separator or boot action." "Look at the event named: something else ran before the image."
    Service ImaUnexpected "ima-unexpected" "PCR 10 is neither zero nor the boot aggregate of PCR 0-9." "Turn off IMA policies in the command line of the image."
    Service InitDataNotAllowed "init-data-not-allowed" "PCR 8 is not zero and the pool allows no init-data." "Boot without init-data, or allow it: `ccnode pool edit POOL --init-data allow`."
    Service AlreadyCapped "already-capped" "PCR 15 is not zero: this boot has had its release, or was refused." "Reboot the node; if it was running, somebody there asked for its keys again."
    Service PoolUnknown "pool-unknown" "The service has no pool for this node." "Make the pool with `ccnode pool create`, or correct node.toml and rebuild."
    Service NodeUnknown "node-unknown" "This TPM is not enrolled and the pool refuses unknown ones." "If you expected it: `ccnode pool edit POOL --on-unknown ask`, boot it again, then `ccnode node approve NAME`."
    Service NodePending "node-pending" "This TPM waits for approval." "`ccnode node approve NAME`."
    Service EnrolmentNeedsTrust "enrolment-needs-trust" "A TPM that the host controls may not enrol by itself." "`ccnode node approve NAME`; or, if its host is trusted, give the pool the rule danger-host-is-trusted beside those that it has: `ccnode pool edit`."
    Service NodeRevoked "node-revoked" "An administrator revoked this node." "Approve it again, if that was a mistake."
    Service NodeQuarantined "node-quarantined" "This node is in quarantine." "Look at the reason with `ccnode node show NAME`; then approve or revoke it."
    Service NodeRetired "node-retired" "This node was retired and its keys were forgotten." "Provision the machine as a new node."
    Service CountersRolledBack "counters-rolled-back" "The TPM's reset counter or clock went back: its state was copied or restored." "Find the copy; then `ccnode node approve NAME`."
    Service ReleasesExhausted "releases-exhausted" "This boot had as many sessions with a release as are allowed." "Reboot the node."
    Service VolumeRetired "volume-retired" "The volume's key was forgotten." "Provision the disk anew with a new grant."
    Service PopulatedFromOther "populated-from-other" "The root on disk was copied from another image than the one that attests." "Boot the image that the root was made from, or have the root made anew: `ccnode node regrant NAME --volume root`."
    Service GrantUnknown "grant-unknown" "The grant does not exist or its secret is wrong." "Reboot the node; it gets a new one."
    Service GrantExpired "grant-expired" "The grant is past its lifetime." "Reboot the node; if copying takes longer than the lifetime, raise `grant-lifetime`."
    Service GrantSpent "grant-spent" "The grant was used for another transition already." "Reboot the node; if it recurs, two machines act as one node."
    Service GenerationStale "generation-stale" "The volume moved on: another boot of this node has a newer grant." "Reboot the node; if it recurs, two machines act as one node."
    Service CsrRefused "csr-refused" "The certificate request is malformed, or not for the name that the service chose." "Use an unmodified ccnode-init."
    Service BodyTooLarge "body-too-large" "The request is larger than the service reads." "Use an unmodified ccnode-init; a firmware log may have at most 1 MiB."
    Service ResourceUnknown "resource-unknown" "There is nothing at this path, or not for this node." "Correct the path; a node reads what belongs to it alone."
    Service AdminUnauthenticated "admin-unauthenticated" "The administration interface wants a client certificate of this service." "Use the context that `ccnode-trust init` wrote, or one that an administrator made for you."
    Service RoleMissing "role-missing" "This administrator's role does not allow the action." "Ask an administrator of the role that the detail names."
    Service Conflict "conflict" "The object exists already, is in use, or is not in a state for this." "Nothing was changed: bring the object into the state that this needs, or take another name."
    Service NotFound "not-found" "There is no object of this name." "See what there is: `ccnode pool list`, and likewise for nodes, images, platforms, resources and refusals."
    Service Internal "internal" "The service failed; the correlation id finds the cause in its log." "Look into the service's log for the correlation id."
    Service TdxQuoteMalformed "tdx-quote-malformed" "The TD quote can't be read, or is of a kind that is not judged here." "Use a guest whose quotes are of version 4 or 5, with an ECDSA P-256 key and the PCK chain inside."
    Service TdxSignature "tdx-signature" "A signature within the TD quote does not verify." "Treat it as an attack: the quote was changed, or its quoting enclave does not vouch for its key."
    Service TdxChain "tdx-chain" "A certificate chain of the TD quote or its collateral does not lead to the trusted Intel SGX root." "Treat a quote under another root as forged; correct the service's clock if the detail names a date."
    Service TdxPckRevoked "tdx-pck-revoked" "Intel revoked a certificate of the TD quote's platform, or of its collateral." "Take the machine out of service: its attestation keys are known to be compromised."
    Service TdxQeIdentity "tdx-qe-identity" "The enclave that signed the TD quote is not Intel's quoting enclave." "Treat it as an attack; if the host's quoting enclave is merely old, update it."
    Service TdxTcbStatus "tdx-tcb-status" "The platform's TCB status is not one that the policy takes." "Update firmware, microcode and TDX module of the host, or allow the status that the detail names."
    Service TdxTcbSvn "tdx-tcb-svn" "The TDX module is older than the policy demands." "Update the TDX module of the host and start the node anew."
    Service TdxModule "tdx-module" "The TDX module is not one that Intel's collateral or the policy knows." "Use a production TDX module; correct the policy's mr-seam and mr-signer-seam."
    Service TdxCollateralMissing "tdx-collateral-missing" "There is no collateral for the TD quote's platform." "Add the platform's TCB info, QE identity and CRLs to the bundle; the detail names its FMSPC."
    Service TdxCollateralMalformed "tdx-collateral-malformed" "The collateral for TD quotes can't be read." "Make the bundle anew from Intel's provisioning service."
    Service TdxCollateralSignature "tdx-collateral-signature" "A signature of the collateral does not verify." "Treat it as an attack on the bundle, and make it anew from Intel's provisioning service."
    Service TdxCollateralExpired "tdx-collateral-expired" "The collateral for TD quotes is older than its dates or the policy allow, or not valid yet." "Renew the bundle, or correct the service's clock."
    Service TdxCollateralMismatch "tdx-collateral-mismatch" "The collateral belongs to another platform or another kind of TEE." "Add the collateral of the FMSPC that the detail names."
    Service TdxDebug "tdx-debug" "The TD is under debug: its host can read and change it." "Start the node without debug or profiling attributes."
    Service TdxAttributes "tdx-attributes" "The TD's attributes are not those that the policy demands." "Correct the TD's attributes on the host, or the policy's attributes."
    Service TdxXfam "tdx-xfam" "The TD's extended features (XFAM) are not those that the policy allows." "Correct the TD's XFAM on the host, or the policy's xfam."
    Service TdxMeasurement "tdx-measurement" "The TD's initial measurement (MRTD) is not one that the policy lists." "If you expected this firmware, add the value that the detail names to the policy's mr-td."
    Service TdxRtmr "tdx-rtmr" "A run-time measurement register of the TD is not one that the policy lists." "If you built this image, add its values to the policy; otherwise somebody changed what boots."
    Service TdxConfigId "tdx-config-id" "MRCONFIGID, MROWNER or MROWNERCONFIG is not one that the policy lists." "Start the TD with the configuration that the policy names, or correct the policy."
    Service TdxServiceTd "tdx-service-td" "Service TDs are bound to the TD, and the policy does not list them." "Start the TD without service TDs, or add the value that the detail names to the policy."
    Service TdxReportData "tdx-report-data" "The TD quote is not bound to this session's transcript." "Treat it as a relay or replay: look for who stands between the node and the service."
    Service TdxReport "tdx-report" "The TDREPORT is not the one that the TD quote was made from." "Treat it as an attack: report and quote are of different machines or boots."
    Service AkWeak "ak-weak" "The attestation key, or its signature scheme, is too weak to be believed." "Use RSA of 2048 bits or more with exponent 65537, or ECC on P-256 or P-384, and SHA-256 or SHA-384."
    Service QuoteBankWeak "quote-bank-weak" "The quote is over the SHA-1 bank." "Quote the SHA-256 bank; SHA-1 proves nothing about what was measured."
    Service Tpm12 "tpm-too-old" "The data are those of a TPM 1.2." "Use a TPM 2.0 (vTPM)."
    Service AkAttributesUnknown "ak-attributes-unknown" "The attestation key came without its public area, so nobody knows what guards it." "Give the key as TPMT_PUBLIC, or judge it by who vouches for it."
    Service AkCertMalformed "ak-cert-malformed" "The attestation key's certificate can't be read, or is none of an attestation key." "Give the certificate that the TPM's maker or operator issued for the attestation key."
    Service AkCertUntrusted "ak-cert-untrusted" "No root at hand leads to the attestation key's certificate." "Give the roots and intermediates of who issued it, if you trust them."
    Service AkCertExpired "ak-cert-expired" "The attestation key's certificate, or one above it, is outside its validity." "Judge it as of the time of the quote, or have the certificate renewed."
    Service AkCertMismatch "ak-cert-mismatch" "The attestation key is not the one of its certificate." "Treat it as an attack: somebody put a key or a certificate in place of another."
    Service AkChainMissing "ak-chain-missing" "There is no certificate, or no root, to judge the attestation key by." "Give the key's certificate and the root that you trust."
    Service QuoteSignatureMissing "quote-signature-missing" "The quote came without its signature." "Give the signature: TPMT_SIGNATURE, or the bytes of RSASSA with SHA-256."
    Service QuoteKeyMissing "quote-key-missing" "There is no key to verify the quote's signature with." "Give the attestation key: TPMT_PUBLIC, SubjectPublicKeyInfo or certificate."
    Service QuoteNonceMissing "quote-nonce-missing" "There is no nonce to compare the quote with, so it may be a replay." "Give the nonce that the quote was asked for with."
    Service PcrValuesMissing "pcr-values-missing" "There are no PCR values to compare the quote with." "Give the values of the PCRs that the quote selects, or the event log."
    Service PcrValuesMalformed "pcr-values-malformed" "The PCR values are none of the bank that they are said to be of." "Give one value of the bank's length for each PCR."
    Service EventLogIncomplete "event-log-incomplete" "The event log says nothing of some quoted PCRs, or of their bank." "Give the log of who extended them, the kernel's IMA log for PCR 10, say."
    Service AttestationMalformed "attestation-malformed" "The attestation is not a message of its kind." "Give a go-tpm-tools attestation as it was marshalled."
    Service SnpReportMalformed "snp-report-malformed" "The attestation report can't be read, or is of a version that is not judged here." "Use a guest whose firmware writes reports of version 2 to 5; the detail names the field."
    Service SnpUnsigned "snp-unsigned" "The attestation report is not signed." "Turn off MaskChipKey on the host, and let the guest ask for a signed report."
    Service SnpCertMissing "snp-cert-missing" "There is no certificate of the key that signed the attestation report." "Let the host hand the certificate to its guests, or add it to the bundle."
    Service SnpCertMalformed "snp-cert-malformed" "A certificate or revocation list of the attestation report can't be read." "Fetch it again from AMD's key distribution service; the detail names what is wrong."
    Service SnpChain "snp-chain" "No trusted AMD root leads to the key that signed the attestation report." "Treat a report under another root as forged; if the CA below AMD's root is new, add it to the bundle."
    Service SnpCertExpired "snp-cert-expired" "A certificate above the attestation report is outside its validity." "Fetch a new certificate from AMD's key distribution service, or correct the service's clock."
    Service SnpRevoked "snp-revoked" "AMD revoked a certificate above the attestation report." "Take the machine out of service: what its reports say can't be believed."
    Service SnpCrl "snp-crl" "The revocation list of AMD's root is missing, not current or not signed by it." "Renew the list in the bundle from AMD's key distribution service."
    Service SnpKey "snp-key" "The attestation report was signed by another kind of key than its certificate's, or than the policy allows." "Send the certificate of the key that signed, or allow this key in the policy's signing-keys and providers."
    Service SnpProduct "snp-product" "The processor is of a line that is not known, not allowed, or not its certificate's." "Use a processor that the policy's products lists, with the certificate of its own line."
    Service SnpTcbMismatch "snp-tcb-mismatch" "The certificate is for another TCB than the one that the attestation report was signed under." "Fetch the certificate for the reported TCB that the detail names."
    Service SnpChipMismatch "snp-chip-mismatch" "The certificate belongs to another chip than the attestation report." "Fetch the certificate of the chip that the detail names."
    Service SnpSignature "snp-signature" "The attestation report's signature does not verify." "Treat it as an attack: the report was changed or forged."
    Service SnpReportData "snp-report-data" "The attestation report is not bound to this session's transcript." "Treat it as a relay or replay: look for who stands between the node and the service."
    Service SnpSvsm "snp-svsm" "The attestation report does not vouch for the vTPM of an SVSM." "Use an SVSM whose vTPM service attests its endorsement key (manifest version 0); otherwise treat it as an attack."
    Service SnpVmpl "snp-vmpl" "The attestation report was made at a privilege level that the policy does not allow." "Ask for the report at the level that the policy's vmpl lists."
    Service SnpTcbTooOld "snp-tcb-too-old" "Firmware or microcode of the platform is older than the policy demands." "Update firmware and microcode of the host, commit them, and launch the guest anew."
    Service SnpFirmwareTooOld "snp-firmware-too-old" "The committed SNP firmware is older than the policy demands." "Update the SNP firmware of the host and commit it."
    Service SnpMitigations "snp-mitigations" "The firmware did not verify the mitigations that the policy demands." "Update the host's firmware and launch the guest anew."
    Service SnpDebug "snp-debug" "The guest's policy lets its host debug it: read and change its memory." "Launch the guest with a policy that does not allow debugging."
    Service SnpMigration "snp-migration" "The guest's policy lets a migration agent take it away." "Launch the guest with a policy that does not allow a migration agent."
    Service SnpSmt "snp-smt" "The guest's policy lets its host run it with SMT, and the pool forbids that." "Launch the guest with a policy that does not allow SMT."
    Service SnpGuestPolicy "snp-guest-policy" "The guest's policy is not what the pool demands, or has bits that are not known." "Launch the guest with the policy that the detail names, or correct the pool's guest-policy."
    Service SnpAbi "snp-abi" "The guest's policy lets it run on an older firmware interface than the pool demands." "Launch the guest with a policy of at least that interface version."
    Service SnpPlatform "snp-platform" "A property of the platform does not stand as the pool demands." "Change the host's configuration that the detail names, or correct the pool's platform."
    Service SnpGuestSvn "snp-guest-svn" "The guest's security version is lower than the pool demands." "Launch the guest with a newer ID block."
    Service SnpMeasurement "snp-measurement" "The guest's launch measurement is not one that the pool lists." "If you built this image, add the value that the detail names to measurements; otherwise somebody changed what is launched."
    Service SnpHostData "snp-host-data" "HOST_DATA is not what the pool lists." "Launch the guest with the data that the pool names, or correct host-data."
    Service SnpGuestId "snp-guest-id" "The guest's family or image id is not one that the pool lists." "Launch the guest with the ID block of this pool, or correct family-ids and image-ids."
    Service SnpIdKey "snp-id-key" "The guest's ID block was signed by a key that the pool does not list." "Sign the ID block with a key that the pool lists, or correct id-key-digests."
    Service SnpAuthorKey "snp-author-key" "The guest's ID key was certified by no author key that the pool lists." "Certify the ID key with an author key that the pool lists, or correct author-key-digests."
    Service SnpChip "snp-chip" "The chip is denied, not allowed, or hides its id from a pool that judges chips." "Run the node on another machine, or correct chip-ids-allowed and chip-ids-denied."
    Service HclMalformed "hcl-malformed" "The Azure HCL report can't be read, or is of a kind that is not judged here." "Use an Azure confidential VM with SEV-SNP or TDX; the detail names the field."
    Service HclBinding "hcl-binding" "The hardware report does not cover the runtime data of the Azure HCL report." "Treat it as an attack: the runtime data, which name the vTPM's keys, were changed."
    Service HclKey "hcl-key" "The runtime data of the Azure HCL report do not name the vTPM's key as they should." "Use an unmodified Azure confidential VM; if Azure changed the form, update the service."
    Service HclUserData "hcl-user-data" "The runtime data of the Azure HCL report are not of this session." "Let the guest write the session's report data to NV index 0x01400002 before it reads the report; otherwise treat it as a replay."
    Service EkMalformed "ek-malformed" "The endorsement key's public area can't be read, or is not made by a template of the TCG EK profile." "Let the vTPM make its endorsement key by the default template of its kind of key."
    Service EkUncertified "ek-uncertified" "The TPM has no endorsement key certificate, and no report vouches for its key." "Use a TPM with a certificate, or a confidential VM whose report covers its vTPM."
    Service KindNotAllowed "kind-not-allowed" "The pool does not take evidence of this kind." "Boot the node where there is evidence of a kind that the pool's `kinds` lists, or correct them: `ccnode pool hardware`."
    Service LevelTooLow "level-too-low" "The evidence is worth less than the pool wants." "Boot the node on a platform of the level that the detail names, or correct the pool's `least-level`: `ccnode pool hardware`."
    Service LevelDropped "level-dropped" "A node's evidence is worth less than at its last boot." "If the node was moved on purpose: `ccnode node approve NAME`; otherwise treat it as an attack."
    Service LaunchUnknown "launch-unknown" "A hardware report came without a vTPM, and the pool lists its launch for no image." "If you built this image, list the measurements that the detail names: `ccnode pool hardware`; otherwise somebody changed what is launched."
    Service StockNotAllowed "stock-not-allowed" "The pool of stock clients does not allow the stock transcript." "If you accept what that gives up: `ccnode pool edit POOL --rule danger-no-activation`; otherwise boot a node image with mode = \"ccnode/1\"."
    Service StockQuoteSelection "stock-quote-selection" "A stock client's quote does not select exactly sha256:0-23." "Use the stock attester of protocol 0.4.0, which quotes the whole SHA-256 bank."
    Service ReferenceValues "reference-values" "The evidence is not what the reference values of the pool allow." "Compare with `ccnode pool reference-values show POOL`; if you expected this boot, post its values."
    Service ReferenceValuesIncomplete "reference-values-incomplete" "Reference values were posted for the pool, but not all that are needed." "Post tpm_pcr4, tpm_pcr7 and tpm_pcr14 at least, or go back to platforms and images: `ccnode pool reference-values clear POOL`."
    Service InitDataMismatch "init-data-mismatch" "The init-data sent are not those that the hardware report was made with." "Treat it as an attack, or launch the guest with the digest of the init-data that it sends."
    Service AkRegistrationNotAllowed "ak-registration-not-allowed" "The pool takes no registrations of attestation keys." "If you accept that anybody may put keys on the list of those that wait: `ccnode pool edit POOL --rule danger-no-activation --rule danger-open-registration`."
    Service RateLimited "rate-limited" "Too many unknown machines asked to be put on the list of those that wait." "Try again in a minute; approve or delete those that wait, if it recurs: `ccnode node list`."
    Service PolicyIsData "policy-is-data" "Policies are typed data of this service, and no programs are taken for them." "Say who gets a resource with `ccnode resource allow`, and what is attested with `ccnode pool allow` and `ccnode pool hardware`."
    Service SessionsTooMany "sessions-too-many" "One address began more sessions than a minute allows." "Nothing: the node tries again by itself; if many nodes share an address, raise limits.sessions-per-minute-per-address in config.toml."
    Service ReleasesTooMany "releases-too-many" "One node asked for its keys and resources more often than a minute allows." "Nothing: the node tries again by itself; if it has that many resources, raise limits.releases-per-minute-per-node in config.toml."
    Service SecondAdministrator "second-administrator" "What takes two administrators was proposed by this one." "Have another administrator approve it, with a certificate of another name and another key."

    Node ConfigMissing "config-missing" "There is no /etc/ccnode/node.toml in the initramfs." "Rebuild the image; the recipe's [node] names the file."
    Node ConfigMalformed "config-malformed" "The measured configuration can't be read." "Correct the line that the detail names and rebuild the image."
    Node CmdlineMalformed "cmdline-malformed" "A `ccnode.` key of the kernel command line is unknown or has a bad value." "Correct the recipe's command line and rebuild the image."
    Node ModuleFailed "module-failed" "A kernel module could not be loaded." "Add the module that the detail names to the recipe, for the kernel of the image."
    Node TpmMissing "tpm-missing" "There is no TPM 2.0." "Give the machine a TPM 2.0 (vTPM)."
    Node TpmFailed "tpm-failed" "A TPM command failed." "The detail names the command; clear or replace the TPM if it recurs."
    Node EkCertMissing "ek-cert-missing" "The TPM has no endorsement key certificate at NV index 0x01c00002." "Use a TPM (vTPM) that was made with an EK certificate."
    Node NetworkMissing "network-missing" "There is no network interface." "Attach a network interface whose driver is in the recipe's modules."
    Node NetworkNoCarrier "network-no-carrier" "The network interface has no link." "Connect the interface; the deadline is `service.deadline` of node.toml."
    Node NetworkNoLease "network-no-lease" "No DHCP server gave an address." "Run a DHCP server, or configure a static address in node.toml."
    Node NetworkFailed "network-failed" "The network could not be configured." "The detail names the step; correct [network] of node.toml."
    Node ServiceUnreachable "service-unreachable" "The trust service did not answer before the deadline." "Start the service, or correct [service].urls; the node tries again at its next boot."
    Node ServiceUntrusted "service-untrusted" "The service's certificate does not lead to a CA pinned in the image." "Find out who answers at this address; if the CA was rotated, rebuild the image with it."
    Node ServiceCertExpired "service-cert-expired" "The service's certificate has expired." "Renew the service's certificate."
    Node ClockAfterCertificate "clock-after-certificate" "The clock of this machine is past the end of the service's certificate." "Correct the machine's clock (RTC), or renew the service's certificate."
    Node ServiceGarbage "service-garbage" "The service's answer is not what the protocol says." "Find out who answers at this address; update image or service if they are of different versions."
    Node ServiceOversized "service-oversized" "The service's answer is larger than the node reads." "Find out who answers at this address."
    Node ServiceFailed "service-failed" "The service answered with an error that is no refusal." "Look into the service's log for the correlation id."
    Node ChallengeStock "challenge-stock" "The service does not speak ccnode/1 and the image demands it." "Point [service] urls of node.toml at a ccnode service, and build the image again."
    Node CredentialRefused "credential-refused" "The TPM could not open the service's credential." "The credential is for another TPM: find out who answers at this address."
    Node QuoteRace "quote-race" "PCRs kept changing between reading and quoting." "Find out what extends PCRs in the initramfs."
    Node DiskMissing "disk-missing" "The disk that node.toml names is not there." "Attach the disk with the serial that node.toml names."
    Node RootMissing "root-missing" "The disk has no partition of the label that node.toml names." "Write the image to the disk again, or correct [disk] of node.toml."
    Node PartitionTable "partition-table" "The disk's partition table is damaged." "Write the image to the disk again."
    Node DuplicatePartition "duplicate-partition" "The same partition label exists twice." "Detach the disk that is not this node's."
    Node DiskNotBlank "disk-not-blank" "The root partition is neither blank nor a half-made format of this very volume." "If its content may be lost, write the image to the disk again."
    Node RootTooSmall "root-too-small" "The root partition is smaller than what must be copied into it." "Make the root partition larger: `root` of the recipe's [disk]."
    Node HeaderMalformed "header-malformed" "The LUKS2 header is damaged or not one." "Restore the disk, or have the volume made anew: `ccnode node regrant NAME --volume VOLUME`."
    Node HeaderRefused "header-refused" "The LUKS2 header says something that is not allowed." "Treat it as an attack on the disk; the detail names the member."
    Node HeaderDigest "header-digest" "The LUKS2 header is not the one that the service has on record." "Treat it as an attack on the disk, or restore the disk that belongs to this node."
    Node UnlockKeyWrong "unlock-key-wrong" "The key does not open the volume." "The disk belongs to another node or was swapped: attach the right one."
    Node DiskFailed "disk-failed" "The disk could not be read or written." "Replace the disk; the detail names the operation."
    Node VerityMismatch "verity-mismatch" "The root source does not match the root hash on the measured command line." "Write the image to the disk again."
    Node RootUnusable "root-unusable" "The root file system can't be mounted or holds no init." "Look at the recipe: the root needs /sbin/init."
    Node FileSystemDamaged "file-system-damaged" "The file system in a volume is damaged." "Open the disk by its custodians and repair it with e2fsck, or have it made anew: `ccnode node regrant NAME --volume VOLUME`."
    Node HandoverFailed "handover-failed" "The hand-over to the root's init failed." "The detail names the step; look at the recipe."
    Node DeadlinePassed "deadline-passed" "The deadline of the boot passed." "The detail names the step that took too long."
    Node NodeInternal "node-internal" "ccnode-init failed in a way that it does not know." "Report it with the console's text."
    Node CvmProviderMissing "cvm-provider-missing" "The kernel has no provider of confidential VM reports." "Add the module of the platform (sev-guest, tdx-guest) to the recipe, with a kernel of 6.7 or later."
    Node CvmProviderUnknown "cvm-provider-unknown" "The kernel's provider of reports is of a platform that this version does not know." "Use SEV-SNP or TDX, or leave the provider's module out of the recipe to attest with the TPM alone."
    Node CvmReportFailed "cvm-report-failed" "The hardware report could not be had." "The detail names the operation; look at the hypervisor's log, and at the kernel's."
    Node CvmReportRace "cvm-report-race" "Somebody else kept changing the report's entry while it was made." "Find out what else asks for reports in the initramfs."
    Node CvmReportForeign "cvm-report-foreign" "What came is not the report that was asked for." "Treat it as an attack by the host, or update its firmware."
    Node SvsmManifestForeign "svsm-manifest-foreign" "The SVSM vouches for another vTPM than the one that this machine has." "Attach no other TPM than the SVSM's own; otherwise treat it as an attack by the host."
    Node CcelMalformed "ccel-malformed" "The firmware's CCEL table or log can't be read." "Update the virtual firmware of the host."
    Node RtmrFailed "rtmr-failed" "The runtime register RTMR 3 could not be extended." "Use Linux 6.16 or later; if it recurs, look at the host's TDX module."
    Node HclReportMalformed "hcl-report-malformed" "What the paravisor left in the vTPM is no report." "Start the machine again; if it recurs, its host is at fault."
    Node HclEkForeign "hcl-ek-foreign" "The paravisor's report names another endorsement key than this vTPM has." "Start the machine again; if it recurs, treat it as an attack by the host."
    Node ImdsFailed "imds-failed" "Azure's instance metadata service gave no quote." "Let the machine reach 169.254.169.254; the detail names what was asked for."
    Node StockNotEnough "stock-not-enough" "Stock mode proves less than the image demands." "Use mode = \"ccnode/1\" with a ccnode service; whoever can do without says so with `require = []` in [stock] of node.toml."
    Node StockEvidence "stock-evidence" "The stock protocol has no form for what this machine reports." "Boot the node on a platform that the key broker knows, or use mode = \"ccnode/1\"."
    Node EvidenceRefused "evidence-refused" "The key broker refused the evidence." "Look into the key broker's log for the node's address: its answer does not say why."
    Node ResourceRefused "resource-refused" "The key broker does not give a resource that the image names." "Correct the broker's resource policy and reference values, or the resource's name in node.toml."
    Node ResourceMalformed "resource-malformed" "A resource is not of the form that the image names." "Store it at the key broker in the form that node.toml names, or correct `form`."
    Node SealedRefused "sealed-refused" "A sealed secret can't be unsealed here." "Use a secret of type vault with provider kbs, signed by the key that node.toml pins; the detail names what is wrong."
    Node InitDataMalformed "init-data-malformed" "The init-data that the host handed in can't be used." "Hand in TOML of version 0.1.0 with algorithm sha256, 64 KiB at most, or none."
    Node ClevisForeign "clevis-foreign" "The volume's clevis token is not for the resource that the image pins." "Treat it as an attack on the disk, or correct `key` in [stock] of node.toml."
    Node HintNotAllowed "hint-not-allowed" "The init-data hold a hint that the image does not let a host give." "Boot without it, or list its kind in `hints` of node.toml and rebuild the image."
    Node LayoutMismatch "layout-mismatch" "What the service granted does not fit the layout, or the volumes for data, that the image was built for." "Update the trust service to a version that knows both, or delete the image's tuple there and register it anew."
    Node RecoveryMismatch "recovery-mismatch" "Custodians recover the volume and the image names none, or the other way round." "Boot an image whose [recovery] is that of the one which made the volume, or have it made anew: `ccnode node regrant NAME --volume VOLUME`."
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|c| c.as_str() == text)
            .ok_or_else(|| UnknownCode(text.chars().take(64).collect()))
    }
}

/// A code that this version does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a code of this version")]
pub struct UnknownCode(pub String);

/// The table of codes as Markdown, as it stands in docs/codes.md.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Refusal codes\n\nEvery refusal has one of these codes, on the node's console, in the service's answer and in its audit log.\n",
    );
    for (by, title) in [(By::Service, "Decided by the trust service"), (By::Node, "Decided by the node")] {
        out.push_str(&format!("\n## {title}\n\n| code | what happened | what to do |\n|---|---|---|\n"));
        for code in Code::ALL.iter().filter(|c| c.by() == by) {
            out.push_str(&format!("| `{}` | {} | {} |\n", code, code.meaning(), code.action()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_kebab_and_parse_back() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert_eq!(code.as_str().parse(), Ok(*code));
            assert!(code.meaning().ends_with('.') && code.action().ends_with('.'), "{code}");
        }
        assert!("nonsense".parse::<Code>().is_err());
    }

    #[test]
    fn docs_hold_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/codes.md");
        if std::env::var_os("CCNODE_WRITE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let on_disk = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            on_disk == markdown(),
            "docs/codes.md is out of date: CCNODE_WRITE_DOCS=1 cargo test -p ccnode-evidence"
        );
    }
}
