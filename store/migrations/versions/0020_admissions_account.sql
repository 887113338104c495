-- A page of sessions adds what the projection has not seen yet: the newest admissions of one account alone.
CREATE INDEX admissions_account ON admissions (account_id, session_id);
