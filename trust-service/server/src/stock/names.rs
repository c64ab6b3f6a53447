//! The stock service's names for errors of its resource paths, by which its clients decide what to do; status and code don't tell.
//!
//! Recorded of the stock service: who has no attested session is told `TokenNotFound`, who shows a token that is none
//! `TokenVerifierError`; what the policy denies is `PolicyDeny`, a path that is no resource's `PluginInternalError`, and one
//! of no plugin `PluginNotFound`. There a missing resource is `PluginInternalError` too; here it is `PolicyDeny`, as a foreign
//! one is: nobody may tell which of the two it was.

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use ccnode_evidence::Code;
use ccnode_protocol::{ATTESTATION_POLICY, REFERENCE_VALUE, RESOURCE_POLICY, ResourceUri};

/// Below which all resources lie.
const RESOURCES: &str = "/kbs/v0/resource/";
/// Below which the stock service looks for plugins.
const PLUGINS: &str = "/kbs/v0/";

/// Where a request went, as far as names of errors depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Below the resources.
    Resource {
        /// Whether a token came along.
        token: bool,
        /// Whether it is the reading of one resource.
        read: bool,
    },
    /// On a path of stock administrators, on their listener.
    Admin(Asks),
    /// Elsewhere below the protocol's base.
    Plugin,
    /// On a path of our own.
    Ours,
}

/// What stock administrators ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asks {
    /// Resources.
    Resources,
    /// Reference values.
    Values,
    /// Policies, which are not taken here.
    Policies,
}

impl Place {
    /// The place of an administrator's request.
    pub fn of_admin(uri: &Uri) -> Self {
        let below = |path| uri.path().starts_with(path);
        match () {
            () if below(RESOURCES) => Self::Admin(Asks::Resources),
            () if below(REFERENCE_VALUE) => Self::Admin(Asks::Values),
            () if below(RESOURCE_POLICY) || below(ATTESTATION_POLICY) => Self::Admin(Asks::Policies),
            () => Self::Ours,
        }
    }

    /// The status, where it is not the listener's usual one of `code`: the stock service tells administrators 401, too.
    pub fn status(self, code: Code) -> Option<StatusCode> {
        match (self, code) {
            (Self::Admin(_), Code::BodyTooLarge | Code::Internal) => None,
            (Self::Admin(_), _) => Some(StatusCode::UNAUTHORIZED),
            _ => None,
        }
    }

    /// The place of a request.
    pub fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        if uri.path().starts_with(RESOURCES) {
            let token = headers.contains_key(header::AUTHORIZATION);
            return Self::Resource { token, read: resource(method, uri).is_some() };
        }
        if uri.path().starts_with(PLUGINS) { Self::Plugin } else { Self::Ours }
    }

    /// The stock name, where it is not the usual one of `code`.
    pub fn variant(self, code: Code) -> Option<&'static str> {
        match (self, code) {
            (
                Self::Resource { .. } | Self::Admin(_) | Self::Plugin,
                Code::AdminUnauthenticated | Code::RoleMissing,
            ) => Some("AdminAuthInitialization"),
            (Self::Admin(_), Code::Internal | Code::BodyTooLarge) => None,
            (Self::Admin(Asks::Resources), _) => Some("PluginInternalError"),
            (Self::Admin(Asks::Values), _) => Some("RvpsError"),
            (Self::Admin(Asks::Policies), _) => Some("PolicyEngineError"),
            (Self::Resource { token: true, .. }, Code::SessionUnknown | Code::SessionExpired) => {
                Some("TokenVerifierError")
            }
            (Self::Resource { .. }, Code::SessionUnknown | Code::SessionExpired) => Some("TokenNotFound"),
            (Self::Resource { .. }, Code::Internal | Code::BodyTooLarge | Code::ReleasesTooMany) => None,
            // The session's key can't be encrypted to.
            (Self::Resource { .. }, Code::MalformedRequest) => Some("JweError"),
            (Self::Resource { read: false, .. }, Code::ResourceUnknown) => Some("PluginInternalError"),
            // What is refused to an attested node is its state, or not its own.
            (Self::Resource { .. }, _) => Some("PolicyDeny"),
            (Self::Plugin, Code::NotFound) => Some("PluginNotFound"),
            (Self::Plugin | Self::Ours, _) => None,
        }
    }
}

/// The resource that is read; nothing of the path is decoded.
pub fn resource(method: &Method, uri: &Uri) -> Option<ResourceUri> {
    let name = format!("kbs:///{}", uri.path().strip_prefix(RESOURCES)?).parse().ok()?;
    (method == Method::GET).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Option<String> {
        let uri: Uri = format!("{RESOURCES}{path}").parse().unwrap();
        assert_eq!(resource(&Method::PUT, &uri), None);
        resource(&Method::GET, &uri).map(|name| name.to_string())
    }

    #[test]
    fn a_resource_has_three_parts_of_plain_characters() {
        assert_eq!(read("default/test/a-1_b.c?x=y"), Some("kbs:///default/test/a-1_b.c".to_owned()));
        for bad in
            ["", "a", "a/b", "a/b/", "a//c", "a/b/c/", "a/b/c/d", "a/.b/c", "a/../c", "a/b/c%20d", "a/b/%63"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_usual_names_stay_elsewhere() {
        let place = |path: &str| Place::of(&Method::GET, &path.parse().unwrap(), &HeaderMap::new());
        assert_eq!(place("/ccnode/v1/grants").variant(Code::SessionUnknown), None);
        assert_eq!(place("/").variant(Code::NotFound), None);
        assert_eq!(place("/kbs/v0/attest").variant(Code::SessionUnknown), None);
        assert_eq!(place("/kbs/v0/resource/a/b/c").variant(Code::Internal), None);
        assert_eq!(place("/kbs/v0/resource/a/b/c").variant(Code::NodeRevoked), Some("PolicyDeny"));
        assert_eq!(place("/kbs/v0/resource/a/b/c").variant(Code::MalformedRequest), Some("JweError"));
    }
}
