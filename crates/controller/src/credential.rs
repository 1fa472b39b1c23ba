//! The fleet's key, from which passwords are derived, and the token that lets people and agents in.
//!
//! A password is never stored: it is derived from the fleet's key and the salt inside a service's
//! packed secret, when somebody asks how to connect. Whoever loses the key loses no data: services
//! go on serving whoever knows their password.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit};
use evenkeel_core::backup::engine;
use evenkeel_core::digest::Digest;
use evenkeel_core::goal::Password;
use evenkeel_core::order::Keys;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::private_file;

/// First line of a copy of the fleet's key.
const EXPORT: &str = "evenkeel fleet key 1";

/// Characters of a password: 192 bits.
const PASSWORD_LENGTH: usize = 32;

/// A credential that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its file cannot be read or written.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// The store is there and the key is not.
    #[error(
        "the fleet's key {} is missing though the fleet exists; put it back from where it was \
         saved, no password can be shown without it",
        path.display()
    )]
    KeyLost {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("there is no key at {}; name the file that `evenkeel key export` wrote", path.display())]
    NoKey {
        /// Where it should be.
        path: PathBuf,
    },
    /// A copy in which something was changed.
    #[error(
        "{} is a copy of a fleet's key, and its check digits do not fit: a character of it is wrong or \
         missing; use another copy",
        path.display()
    )]
    DamagedCopy {
        /// Which file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error(
        "{} holds {length} bytes and is no fleet key (32 bytes); put the fleet's own key back",
        path.display()
    )]
    NotAKey {
        /// Which file.
        path: PathBuf,
        /// What it holds.
        length: usize,
    },
    /// The file holds something else.
    #[error("{} holds no token; remove it and a new one is made", path.display())]
    NotAToken {
        /// Which file.
        path: PathBuf,
    },
}

/// 32 random bytes, the root of every password and of what the store's snapshots are sealed with: the fleet's
/// recovery key. Its debug output shows nothing.
pub struct FleetKey([u8; 32]);

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetKey(..)")
    }
}

impl FleetKey {
    /// The key in a file. It is made when the fleet is: later, a missing key is an error, since a
    /// new one would fit none of the verifiers that servers hold.
    pub(crate) fn open(path: &Path, fleet_exists: bool) -> Result<Self, Error> {
        if let Some(bytes) = private_file::read(path)? {
            let length = bytes.len();
            let key = <[u8; 32]>::try_from(bytes);
            return key.map(Self).map_err(|_| Error::NotAKey { path: path.to_owned(), length });
        }
        if fleet_exists {
            return Err(Error::KeyLost { path: path.to_owned() });
        }
        let key: [u8; 32] = rand::random();
        private_file::replace(path, &key)?;
        Ok(Self(key))
    }

    /// The password that belongs to a salt.
    pub(crate) fn password(&self, salt: &[u8]) -> String {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.0)
            .expect("HMAC takes keys of every length");
        mac.update(b"login");
        mac.update(salt);
        let mut text = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        text.truncate(PASSWORD_LENGTH);
        text
    }
}

impl FleetKey {
    /// A new key for a service's archive, and the same wrapped: whoever holds the fleet's key can read the
    /// archive though every other part of the control plane is lost.
    pub(crate) fn archive_keys(&self, engine: engine::Engine) -> Keys {
        let key: [u8; 32] = rand::random();
        let nonce: [u8; 24] = rand::random();
        let sealed = self.wrapping().encrypt(&nonce.into(), &key[..]);
        let sealed = sealed.expect("32 bytes are not too many to encrypt");
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let wrapped = URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat());
        Keys { key: Password(hex(&key)), wrapped, engine }
    }

    /// Seals a secret that this control plane keeps for a while and does not itself need.
    pub fn seal(&self, secret: &str) -> String {
        let nonce: [u8; 24] = rand::random();
        let sealed = self.cipher(b"secret").encrypt(&nonce.into(), secret.as_bytes());
        let sealed = sealed.expect("a secret is not too long to encrypt");
        URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// What was sealed; `None`: not by this key.
    pub fn unseal(&self, sealed: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<24>()?;
        let secret = self.cipher(b"secret").decrypt(&(*nonce).into(), sealed).ok()?;
        String::from_utf8(secret).ok()
    }

    /// A key in a file: the fleet's own, or a copy as [`FleetKey::export`] writes it.
    ///
    /// # Errors
    /// [`Error`] says whether there is none, or what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let missing = || Error::NoKey { path: path.to_owned() };
        let bytes = private_file::read(path)?.ok_or_else(missing)?;
        let (path, length) = (path.to_owned(), bytes.len());
        if let Ok(key) = <[u8; 32]>::try_from(&bytes[..]) {
            return Ok(Self(key));
        }
        let text = String::from_utf8(bytes).unwrap_or_default();
        if !text.starts_with(EXPORT) {
            return Err(Error::NotAKey { path, length });
        }
        let line = |name| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        let (key, check) = (line("key").unwrap_or_default(), line("check").unwrap_or_default());
        match Digest::try_from(key.to_ascii_lowercase()).map(|digest| Self(digest.0)) {
            Ok(key) if key.digits() == check.to_ascii_lowercase() => Ok(key),
            _ => Err(Error::DamagedCopy { path }),
        }
    }

    /// The key as a text that can be printed, kept in a safe and typed in again.
    #[must_use]
    pub fn export(&self) -> String {
        let key: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{EXPORT}\n# Whoever holds this can read every archive of the fleet, and take it over.\n\
             key: {key}\ncheck: {}\n",
            self.digits()
        )
    }

    /// Digits by which a copy is told to be of this key, and which tell nothing else of it.
    #[must_use]
    pub fn digits(&self) -> String {
        self.derived(b"check")[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Puts the key where a controller finds it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        Ok(private_file::replace(path, &self.0)?)
    }

    /// What snapshots of the store are sealed with: 32 bytes in hexadecimal.
    #[must_use]
    pub fn store_key(&self) -> Password {
        Password(self.derived(b"store").iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What hosts' seals are derived from, by which a successor of a lost store proves itself.
    #[must_use]
    pub fn succession(&self) -> Password {
        Password(self.derived(b"succession").iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn derived(&self, what: &[u8]) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.0)
            .expect("HMAC takes keys of every length");
        mac.update(what);
        mac.finalize().into_bytes().into()
    }

    fn wrapping(&self) -> XChaCha20Poly1305 {
        self.cipher(b"archive")
    }

    fn cipher(&self, use_of: &[u8]) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.derived(use_of).into())
    }
}

/// The token of the API and of the streams. Its debug output shows nothing.
#[derive(Clone)]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// The token in a file, made where there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if let Some(bytes) = private_file::read(path)? {
            let text = String::from_utf8(bytes).unwrap_or_default();
            let text = text.trim();
            let sound = text.len() >= 16 && text.bytes().all(|b| b.is_ascii_graphic());
            return if sound {
                Ok(Self(text.to_owned()))
            } else {
                Err(Error::NotAToken { path: path.to_owned() })
            };
        }
        let text = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        private_file::replace(path, format!("{text}\n").as_bytes())?;
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text is this token. Compares digests, in time that depends on neither text.
    pub fn is(&self, text: &str) -> bool {
        blake3::hash(self.0.as_bytes()) == blake3::hash(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = "105b62c92eaec8c8";

    /// Passwords of running services rest on this derivation: it can never change.
    #[test]
    fn golden_password_of_a_key_and_a_salt() {
        let key = FleetKey([7; 32]);
        assert_eq!(key.password(&[1; 16]), "pTGOFny_WPytzz6-g-gnDWP3Jy498en0");
        assert_ne!(key.password(&[1; 16]), key.password(&[2; 16]));
        assert_ne!(key.password(&[1; 16]), FleetKey([8; 32]).password(&[1; 16]));
    }

    #[test]
    fn an_archive_key_is_read_again_by_the_fleets_alone() {
        let (mine, other) = (FleetKey([7; 32]), FleetKey([8; 32]));
        let keys = mine.archive_keys(engine::Engine::Native);
        assert_eq!(keys.key.0.len(), 64);
        assert_ne!(
            keys.key,
            mine.archive_keys(engine::Engine::Native).key,
            "every archive has its own"
        );
        let wrapped = URL_SAFE_NO_PAD.decode(&keys.wrapped).unwrap();
        let (nonce, sealed) = wrapped.split_at(24);
        let nonce: [u8; 24] = nonce.try_into().unwrap();
        let open = |key: &FleetKey| key.wrapping().decrypt(&nonce.into(), sealed);
        let text: String = open(&mine).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, keys.key.0);
        assert!(open(&other).is_err());
        assert!(!format!("{keys:?}").contains(&keys.key.0), "it is never printed");
    }

    #[test]
    fn a_sealed_secret_is_opened_by_the_fleets_key_alone() {
        let (mine, other) = (FleetKey([7; 32]), FleetKey([8; 32]));
        let sealed = mine.seal("hidden");
        assert_eq!(mine.unseal(&sealed).as_deref(), Some("hidden"));
        assert!(!sealed.contains("hidden") && sealed != mine.seal("hidden"));
        assert_eq!(other.unseal(&sealed), None);
        assert_eq!(mine.unseal("short"), None);
    }

    #[test]
    fn a_copy_is_the_key_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let key = FleetKey([7; 32]);
        let path = dir.path().join("copy");
        std::fs::write(&path, key.export()).unwrap();
        assert_eq!(FleetKey::read(&path).unwrap().0, key.0);
        std::fs::write(
            &path,
            key.export()
                .to_uppercase()
                .replace("EVENKEEL FLEET KEY", "evenkeel fleet key")
                .replace("KEY:", "key:")
                .replace("CHECK:", "check:"),
        )
        .unwrap();
        assert_eq!(FleetKey::read(&path).unwrap().0, key.0, "as somebody typed it in");
        let damaged = [
            key.export().replace("key: 07", "key: 17"),
            key.export().replace("check: ", "check: 0"),
            key.export()[..60].to_owned(),
            "evenkeel fleet key 1".to_owned(),
        ];
        for text in damaged {
            std::fs::write(&path, &text).unwrap();
            let error = FleetKey::read(&path).unwrap_err();
            assert!(matches!(error, Error::DamagedCopy { .. }), "{text}: {error:?}");
        }
        std::fs::write(&path, "hello").unwrap();
        assert!(matches!(FleetKey::read(&path), Err(Error::NotAKey { length: 5, .. })));
        let none = FleetKey::read(&dir.path().join("none")).unwrap_err();
        assert!(none.to_string().contains("key export"), "{none}");
        key.write(&path).unwrap();
        assert_eq!(FleetKey::open(&path, true).unwrap().0, key.0);
        assert_ne!(key.store_key(), key.succession());
        // Snapshots are sealed with this: it can never change.
        assert!(key.store_key().0.starts_with(GOLDEN), "{}", key.store_key().0);
    }

    #[test]
    fn a_key_is_made_with_the_fleet_and_never_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.key");
        let lost = FleetKey::open(&path, true).unwrap_err();
        assert!(matches!(lost, Error::KeyLost { .. }), "{lost:?}");
        let made = FleetKey::open(&path, false).unwrap();
        let again = FleetKey::open(&path, true).unwrap();
        assert_eq!(made.0, again.0);
        std::fs::write(&path, b"short").unwrap();
        let wrong = FleetKey::open(&path, true).unwrap_err();
        assert!(matches!(wrong, Error::NotAKey { length: 5, .. }), "{wrong:?}");
    }

    #[test]
    fn a_token_is_kept_and_compared_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let token = Token::open(&path).unwrap();
        assert!(Token::open(&path).unwrap().is(token.as_str()));
        assert!(!token.is(&token.as_str()[1..]));
        assert!(!token.is(""));
        assert!(!format!("{token:?}").contains(token.as_str()));
        std::fs::write(&path, b"\n").unwrap();
        assert!(matches!(Token::open(&path), Err(Error::NotAToken { .. })));
    }
}
