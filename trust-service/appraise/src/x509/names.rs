//! Name constraints of a CA (RFC 5280, section 4.2.1.10), for what certificates of TPMs are named by: directory names.

use x509_parser::extensions::{GeneralName, NameConstraints};
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

/// Whether `ca`'s name constraints, if it has any, allow the names of `cert` below it.
///
/// Constraints on names other than directory names are not computed: a certificate that has such a name is not allowed.
pub(super) fn allow(ca: &X509Certificate<'_>, cert: &X509Certificate<'_>) -> bool {
    let Ok(constraints) = ca.name_constraints() else { return false };
    let Some(constraints) = constraints else { return true };
    let Ok(alternatives) = cert.subject_alternative_name() else { return false };
    let subject = Some(cert.subject()).filter(|name| name.iter_rdn().next().is_some());
    let alternatives = alternatives.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    subject.is_none_or(|name| directory(constraints.value, name))
        && alternatives.iter().all(|name| match name {
            GeneralName::DirectoryName(name) => directory(constraints.value, name),
            other => !constrained(constraints.value, other),
        })
}

fn directory(constraints: &NameConstraints<'_>, name: &X509Name<'_>) -> bool {
    let below = |base: &GeneralName<'_>| match base {
        GeneralName::DirectoryName(base) => Some(is_below(name, base)),
        _ => None,
    };
    let excluded = constraints.excluded_subtrees.iter().flatten().any(|tree| below(&tree.base) == Some(true));
    let mut permitted =
        constraints.permitted_subtrees.iter().flatten().filter_map(|tree| below(&tree.base)).peekable();
    !excluded && (permitted.peek().is_none() || permitted.any(|below| below))
}

/// Whether `base`'s components, byte for byte, are the first of `name`'s.
fn is_below(name: &X509Name<'_>, base: &X509Name<'_>) -> bool {
    let mut components = name.iter_rdn();
    base.iter_rdn().all(|due| components.next().is_some_and(|found| found == due))
}

fn constrained(constraints: &NameConstraints<'_>, name: &GeneralName<'_>) -> bool {
    let trees = constraints.permitted_subtrees.iter().chain(&constraints.excluded_subtrees).flatten();
    trees.into_iter().any(|tree| std::mem::discriminant(&tree.base) == std::mem::discriminant(name))
}
