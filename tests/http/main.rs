//! HTTP as a client sees it, without sockets: `support` plays the loop and the network, in virtual time.

mod downloads;
mod limits;
mod pcm;
mod requests;
mod streams;
mod support;
