//! Uploads that come in pieces: from the clients that applications use, and while they are encoded.

mod clients;
