mod sendgrid;
mod sendgrid_events;
mod server;
mod webhook;
