//! reauth
