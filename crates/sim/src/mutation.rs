//! Rules that can be broken on purpose, to see that the checkers find it.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Expiry takes backups whatever was proven of them.
    ProvenExpires,
    /// A last proof looks at what is in the archive already, and asks for nothing that its sealed server
    /// has.
    EarlyLastProof,
    /// A repository that cannot be asked is taken for one that has nothing.
    SilenceIsNothing,
    /// Who writes in a term below the newest is stored all the same.
    StaleTermArchives,
    /// No server is told how much room its disk has.
    NoGuard,
}
