//! How copies of one service log in to each other: a role for each copy, which is its slot's name and
//! its name among synchronous standbys too, and a password that only the control plane can derive.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evenkeel_core::goal::{Login, Password};
use evenkeel_core::id::{Incarnation, MemberId};
use evenkeel_core::promise::{Copy, Set};

use super::secret;

/// The password has 256 random bits, so more rounds would protect nothing; one keeps goals cheap.
const ITERATIONS: u32 = 1;

/// The name of a copy's role, of its slot, and its name in `synchronous_standby_names`.
#[must_use]
pub fn role(copy: Copy) -> String {
    format!("ek_{}_{}", copy.member, copy.incarnation)
}

/// The copy that a role's name is of.
#[must_use]
pub fn copy(role: &str) -> Option<Copy> {
    let (member, incarnation) = role.strip_prefix("ek_m")?.split_once("_i")?;
    let member = MemberId(member.parse().ok()?);
    Some(Copy { member, incarnation: Incarnation(incarnation.parse().ok()?) })
}

/// A copy's login, and the password to it.
#[must_use]
pub fn login(packed: &[u8], copy: Copy) -> (Login, Password) {
    let role = role(copy);
    let key = secret::keyed(packed, role.as_bytes());
    let password = URL_SAFE_NO_PAD.encode(key);
    let salt = secret::keyed(packed, format!("salt of {role}").as_bytes());
    let salt = salt.first_chunk().expect("a key is longer than a salt");
    let verifier = secret::verifier_of(&secret::pack_in(&password, salt, ITERATIONS), ITERATIONS);
    (Login { role, verifier: verifier.unwrap_or_default() }, Password(password))
}

/// The value of `synchronous_standby_names` for a set.
#[must_use]
pub fn standby_names(set: &Set) -> String {
    if set.acks() == 0 {
        return String::new();
    }
    let names: Vec<String> =
        set.standbys().iter().map(|copy| format!("\"{}\"", role(*copy))).collect();
    format!("ANY {} ({})", set.acks(), names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: Copy = Copy { member: MemberId(12), incarnation: Incarnation(3) };

    #[test]
    fn names_go_both_ways_and_others_are_nobodys() {
        assert_eq!(role(COPY), "ek_m12_i3");
        assert_eq!(copy("ek_m12_i3"), Some(COPY));
        for other in ["ek_m12", "ek_mx_i3", "m12_i3", "evenkeel", "ek_m12_i3x"] {
            assert_eq!(copy(other), None, "{other}");
        }
    }

    #[test]
    fn each_copy_has_its_own_password() {
        let packed = [7; 80];
        let other = Copy { incarnation: Incarnation(4), ..COPY };
        assert_eq!(login(&packed, COPY), login(&packed, COPY));
        assert_ne!(login(&packed, COPY).1, login(&packed, other).1);
        assert!(login(&packed, COPY).0.verifier.starts_with("SCRAM-SHA-256$1:"));
    }

    #[test]
    fn a_set_is_written_as_postgresql_reads_it() {
        assert_eq!(standby_names(&Set::nobody()), "");
        let set = Set::any(1, &[COPY]).unwrap();
        assert_eq!(standby_names(&set), "ANY 1 (\"ek_m12_i3\")");
    }
}
