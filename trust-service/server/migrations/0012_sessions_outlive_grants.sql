-- Sessions are kept for longer than any grant of theirs can last: nobody looks for the grants of one any more.
DROP INDEX grants_by_session;
