"""Pages that people answer on: plain forms that need no script, and what links in mails open."""
