use crate::capability::Cases;

pub(crate) const CASES: Cases = Cases {
    grants: "",
    allowed: &["write", "progress"],
    denied: &[],
};
