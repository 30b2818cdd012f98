mod sandbox;
mod server;
