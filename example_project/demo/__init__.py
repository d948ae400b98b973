"""The demo: a guestbook on four local servers, deployed by the example project."""
