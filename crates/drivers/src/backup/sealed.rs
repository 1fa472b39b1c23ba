//! Sealed objects: compressed, then encrypted and authenticated in pieces, so that any size streams.
//!
//! ```text
//! "EKB1" | keyed digest of the content (32) | nonce (19) | pieces of at most 64 KiB, each with its tag
//! ```
//!
//! Compression is LZ4, as backups must not cost their service its cores. Encryption is STREAM over
//! XChaCha20-Poly1305 (Hoang, Reyhanitabar, Rogaway, Vizár 2015): pieces cannot be left out, moved or
//! cut off at the end unnoticed, and the object's name is part of every tag, so that one object cannot
//! take another's place. The digest is of the content, keyed, so that it says nothing to others and
//! equal content can be told without reading it all.

use std::io::{self, Read, Write};

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::rand_core::RngCore;
use chacha20poly1305::aead::stream::{DecryptorBE32, EncryptorBE32};
use chacha20poly1305::aead::{KeyInit, OsRng, Payload};
use evenkeel_core::digest::Digest;
use lz4_flex::frame::{FrameDecoder, FrameEncoder};

use super::Key;

const MAGIC: &[u8; 4] = b"EKB1";
const NONCE: usize = 19;
const TAG: usize = 16;
const PIECE: usize = 64 << 10;
/// Bytes before the first piece.
pub const HEADER: usize = MAGIC.len() + 32 + NONCE;

/// The digest by which content is compared. Of a stream, whose end is not known at its beginning, it is
/// that of nothing.
#[must_use]
pub fn digest(key: &Key, content: &[u8]) -> Digest {
    Digest(*blake3::keyed_hash(&key.0, content).as_bytes())
}

/// The digest in an object's first bytes.
#[must_use]
pub fn digest_in(header: &[u8]) -> Option<Digest> {
    let rest = header.strip_prefix(MAGIC)?;
    rest.first_chunk().map(|digest| Digest(*digest))
}

/// A whole object in memory.
#[must_use]
pub fn seal(key: &Key, name: &str, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + content.len() / 2);
    let sealed = Sealer::begin(&mut out, key, name, digest(key, content)).and_then(|mut sealer| {
        sealer.write_all(content)?;
        sealer.finish().map(drop)
    });
    sealed.expect("memory takes what is written");
    out
}

/// What a whole object holds.
///
/// # Errors
/// When it is not what was sealed under this name.
pub fn open(key: &Key, name: &str, object: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let (mut opened, expected) = Opened::begin(object, key, name)?;
    opened.read_to_end(&mut content)?;
    if digest(key, &content) == expected { Ok(content) } else { Err(damaged("its digest differs")) }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Seals what is written into it.
pub struct Sealer<W: Write>(FrameEncoder<Pieces<W>>);

struct Pieces<W: Write> {
    to: W,
    aad: Vec<u8>,
    stream: Option<EncryptorBE32<XChaCha20Poly1305>>,
    piece: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Begins an object.
    ///
    /// # Errors
    /// Of the writer.
    pub fn begin(mut to: W, key: &Key, name: &str, digest: Digest) -> io::Result<Self> {
        let mut nonce = [0; NONCE];
        OsRng.fill_bytes(&mut nonce);
        to.write_all(MAGIC)?;
        to.write_all(&digest.0)?;
        to.write_all(&nonce)?;
        let cipher = XChaCha20Poly1305::new(&key.0.into());
        let stream = Some(EncryptorBE32::from_aead(cipher, &nonce.into()));
        let aad = [name.as_bytes(), &digest.0].concat();
        let pieces = Pieces { to, aad, stream, piece: Vec::with_capacity(PIECE + TAG) };
        Ok(Self(FrameEncoder::new(pieces)))
    }

    /// The last piece. An object without it cannot be opened.
    ///
    /// # Errors
    /// Of the writer.
    pub fn finish(self) -> io::Result<W> {
        let mut pieces = self.0.finish().map_err(io::Error::from)?;
        let stream = pieces.stream.take().expect("only the last piece takes the stream");
        let payload = Payload { msg: &pieces.piece, aad: &pieces.aad };
        let sealed = stream.encrypt_last(payload).map_err(|_| damaged("a piece is too long"))?;
        pieces.to.write_all(&sealed)?;
        Ok(pieces.to)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full piece goes when more comes: the last one is sealed as the last.
        if self.piece.len() == PIECE {
            let stream = self.stream.as_mut().ok_or_else(|| damaged("it was finished"))?;
            let payload = Payload { msg: &self.piece, aad: &self.aad };
            let sealed = stream.encrypt_next(payload).map_err(|_| damaged("it is too long"))?;
            self.to.write_all(&sealed)?;
            self.piece.clear();
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Reads what was sealed. What it gave is to be believed only once it has ended without an error.
pub struct Opened<R: Read>(FrameDecoder<Unpieced<R>>);

struct Unpieced<R: Read> {
    from: R,
    aad: Vec<u8>,
    stream: Option<DecryptorBE32<XChaCha20Poly1305>>,
    /// Sealed bytes read ahead: whether a piece is the last is known when nothing follows.
    ahead: Vec<u8>,
    piece: Vec<u8>,
    at: usize,
}

impl<R: Read> Opened<R> {
    /// Reads an object's beginning; the digest in it.
    ///
    /// # Errors
    /// Of the reader, and when it is no object.
    pub fn begin(mut from: R, key: &Key, name: &str) -> io::Result<(Self, Digest)> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it is too short"),
            _ => error,
        })?;
        let digest = digest_in(&header).ok_or_else(|| damaged("it is no object of Evenkeel"))?;
        let nonce: [u8; NONCE] = *header.last_chunk().expect("a header is longer than a nonce");
        let cipher = XChaCha20Poly1305::new(&key.0.into());
        let stream = Some(DecryptorBE32::from_aead(cipher, &nonce.into()));
        let aad = [name.as_bytes(), &digest.0].concat();
        let (ahead, piece) = (Vec::with_capacity(PIECE + TAG + 1), Vec::new());
        let unpieced = Unpieced { from, aad, stream, ahead, piece, at: 0 };
        Ok((Self(FrameDecoder::new(unpieced)), digest))
    }

    /// Reads on to the end, so that a cut is noticed though nobody needs what is there.
    ///
    /// # Errors
    /// When the rest is not what was sealed.
    pub fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self.0, &mut io::sink())?;
        io::copy(self.0.get_mut(), &mut io::sink()).map(drop)
    }
}

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl<R: Read> Read for Unpieced<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() && self.stream.is_some() {
            self.next()?;
        }
        let given = into.len().min(self.piece.len() - self.at);
        into[..given].copy_from_slice(&self.piece[self.at..self.at + given]);
        self.at += given;
        Ok(given)
    }
}

impl<R: Read> Unpieced<R> {
    fn next(&mut self) -> io::Result<()> {
        let wanted = PIECE + TAG + 1 - self.ahead.len();
        let read = u64::try_from(wanted).unwrap_or(u64::MAX);
        self.from.by_ref().take(read).read_to_end(&mut self.ahead)?;
        let wrong = |_| damaged("it was changed or cut off, or its key is another one");
        let more = self.ahead.len() > PIECE + TAG;
        let end = self.ahead.len().min(PIECE + TAG);
        let payload = Payload { msg: &self.ahead[..end], aad: &self.aad };
        self.piece = if more {
            let stream = self.stream.as_mut().ok_or_else(|| damaged("it has ended"))?;
            stream.decrypt_next(payload).map_err(wrong)?
        } else {
            let stream = self.stream.take().ok_or_else(|| damaged("it has ended"))?;
            stream.decrypt_last(payload).map_err(wrong)?
        };
        self.ahead.drain(..end);
        self.at = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let random = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        random.take(bytes).collect()
    }

    #[test]
    fn what_was_sealed_is_opened_whatever_its_size() {
        let key = Key([7; 32]);
        for bytes in [0, 1, PIECE - 20, PIECE, PIECE + 1, 3 * PIECE, 10 * PIECE + 17] {
            let content = content(bytes);
            let object = seal(&key, "a/b", &content);
            assert_eq!(digest_in(&object), Some(digest(&key, &content)));
            assert!(open(&key, "a/b", &object[..]).unwrap() == content, "{bytes} bytes");
        }
        let zeros = vec![0; 4 << 20];
        let object = seal(&key, "a", &zeros);
        assert!(object.len() < zeros.len() / 100, "{} bytes", object.len());
    }

    #[test]
    fn nothing_else_is_opened() {
        let (key, content) = (Key([7; 32]), content(2 * PIECE + 5));
        let object = seal(&key, "a", &content);
        assert!(open(&key, "b", &object[..]).is_err(), "another's name");
        assert!(open(&Key([8; 32]), "a", &object[..]).is_err(), "another key");
        for end in
            [0, 10, HEADER, HEADER + 5, PIECE + HEADER, PIECE + TAG + HEADER, object.len() - 1]
        {
            assert!(open(&key, "a", &object[..end]).is_err(), "cut off at {end}");
        }
        for at in (0..object.len()).step_by(997) {
            let mut changed = object.clone();
            changed[at] ^= 1;
            assert!(open(&key, "a", &changed[..]).is_err(), "changed at {at}");
        }
        let longer = [&object[..], &[0]].concat();
        let (opened, _) = Opened::begin(&longer[..], &key, "a").unwrap();
        assert!(opened.finish().is_err(), "something follows");
    }
}
