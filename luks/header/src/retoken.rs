//! A header with another token: the same volume, its key wrapped anew.

use crate::allow::Allowlist;
use crate::binary::{self, BinaryHeader};
use crate::copies::{self, Header, ParseError};
use crate::json::Json;
use crate::judge::{Expected, judge};
use crate::refusal::Refusal;
use crate::token::Token;

/// The header of the same volume with `token` in place of its own, made in memory: both copies with the next sequence number, and
/// nothing else changed. The same arguments make the same bytes.
///
/// What is returned holds the bytes that must be written and the digest that must be registered, as a new header does.
pub fn retoken(header: &Expected, token: &Token) -> Result<Expected, Refusal> {
    let allow = Allowlist::volume(header.segment().integrity);
    let mut bytes = header.bytes().to_vec();
    let Header { mut json, binary, .. } = Header::parse(&bytes, u64::MAX)?;
    let place = json.at_mut(&["tokens", "0"]).ok_or_else(|| Refusal::Missing("/tokens/0".to_owned()))?;
    let wanted = token.to_json().to_string();
    *place = Json::parse(&wanted).map_err(|_| Refusal::Missing("/tokens/0".to_owned()))?;
    let size = binary.size;
    let truncated = |need| Refusal::from(ParseError::Truncated { need, have: size });
    let mut area = json.to_string().into_bytes();
    let room = usize::try_from(size).unwrap_or_default().saturating_sub(binary::LEN);
    // LUKS2 wants a zero at the end of the text.
    if area.len() >= room {
        return Err(truncated(size.saturating_add(area.len() as u64)));
    }
    area.resize(room, 0);
    let binary = BinaryHeader { seqid: binary.seqid.saturating_add(1), ..binary };
    let made = [binary.encode(&area), area].concat();
    bytes.get_mut(..made.len()).ok_or_else(|| truncated(size))?.copy_from_slice(&made);
    copies::rebuild_secondary(&mut bytes).map_err(|_| truncated(size))?;
    let judged = judge(bytes, &allow)?;
    let digest = judged.digest();
    judged.require_digest(&digest)
}
