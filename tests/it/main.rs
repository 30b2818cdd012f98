mod sendgrid;
mod server;
mod webhook;
