//! What is kept of an owner's password: salt and keys of SCRAM-SHA-256 (RFC 5802, RFC 7677), from
//! which PostgreSQL's verifier is written and the password cannot be had.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// PostgreSQL's own default (`SCRAM_SHA_256_DEFAULT_ITERATIONS`). Passwords here are 192 random
/// bits, so more rounds would protect nothing.
const ITERATIONS: u32 = 4096;

const SALT: usize = 16;
const KEY: usize = 32;

/// A key for a text, by HMAC-SHA-256.
pub fn keyed(key: &[u8], text: &[u8]) -> [u8; KEY] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a MAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// Salt, stored key and server key, one after the other.
pub fn pack(password: &str, salt: &[u8; SALT]) -> Vec<u8> {
    pack_in(password, salt, ITERATIONS)
}

/// The same, in so many rounds.
pub fn pack_in(password: &str, salt: &[u8; SALT], rounds: u32) -> Vec<u8> {
    let mut salted = [0; KEY];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, rounds, &mut salted);
    let stored: [u8; KEY] = Sha256::digest(keyed(&salted, b"Client Key")).into();
    let server = keyed(&salted, b"Server Key");
    [&salt[..], &stored, &server].concat()
}

/// The verifier as `pg_authid.rolpassword` has it.
pub fn verifier(packed: &[u8]) -> Option<String> {
    verifier_of(packed, ITERATIONS)
}

/// What a verifier was written from.
pub fn packed(verifier: &str) -> Option<Vec<u8>> {
    let rest = verifier.strip_prefix(&format!("SCRAM-SHA-256${ITERATIONS}:"))?;
    let (salt, keys) = rest.split_once('$')?;
    let (stored, server) = keys.split_once(':')?;
    let parts = [salt, stored, server].map(|part| STANDARD.decode(part));
    let [Ok(salt), Ok(stored), Ok(server)] = parts else { return None };
    let packed = [salt, stored, server].concat();
    (packed.len() == SALT + 2 * KEY).then_some(packed)
}

/// The same, of what was packed in so many rounds.
pub fn verifier_of(packed: &[u8], rounds: u32) -> Option<String> {
    if packed.len() != SALT + 2 * KEY {
        return None;
    }
    let (salt, keys) = packed.split_at(SALT);
    let (stored, server) = keys.split_at(KEY);
    let [salt, stored, server] = [salt, stored, server].map(|bytes| STANDARD.encode(bytes));
    Some(format!("SCRAM-SHA-256${rounds}:{salt}${stored}:{server}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_that_of_the_standard() {
        // The example of RFC 7677: password "pencil", its salt, 4096 rounds.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let packed = pack("pencil", &salt.try_into().unwrap());
        let expected = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                        wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(verifier(&packed).unwrap(), expected);
        assert_eq!(verifier(&packed[1..]), None);
        assert_eq!(super::packed(expected), Some(packed), "and back");
        for wrong in ["", "md5abc", &expected[..expected.len() - 4], &expected.replace("4096", "1")]
        {
            assert_eq!(super::packed(wrong), None, "{wrong}");
        }
    }
}
