-- The budget of a wallet in PostgreSQL (11 or newer), version 2 of its schema. The first client that names the database
-- makes it, and brings one of version 1 up to it: the tables are the same, what stands below "functions" is made anew.
-- Each function is one step that is atomic; callers run it as a transaction of its own, in READ COMMITTED: every
-- statement inside then sees what was committed before it began. The row of an account in og_budget_totals is locked
-- first by whoever changes anything of that account, so that nobody waits for anybody in a circle.

CREATE TABLE og_budget_facts (name text PRIMARY KEY, value text NOT NULL);

CREATE TABLE og_budget_totals (
    account text PRIMARY KEY, authorized numeric NOT NULL DEFAULT 0, settled numeric NOT NULL DEFAULT 0,
    in_doubt numeric NOT NULL DEFAULT 0, unanswered integer NOT NULL DEFAULT 0, stopped text
) WITH (fillfactor = 20);

CREATE TABLE og_budget_spans (
    account text, width integer, start bigint, amount numeric NOT NULL, payments bigint NOT NULL,
    PRIMARY KEY (account, width, start)
) WITH (fillfactor = 20);

CREATE TABLE og_budget_entries (
    number bigint GENERATED ALWAYS AS IDENTITY, id text PRIMARY KEY, account text NOT NULL, part text NOT NULL,
    amount numeric NOT NULL, at bigint NOT NULL, state text NOT NULL, signed text, network text
);
CREATE INDEX og_budget_waiting ON og_budget_entries (account, at);

CREATE TABLE og_budget_notes (name text PRIMARY KEY, value text NOT NULL, until bigint NOT NULL);

CREATE TYPE og_budget_sums AS (
    made boolean, authorized numeric, settled numeric, in_doubt numeric, last_hour numeric, last_day numeric,
    payments bigint, unanswered integer, share numeric, stopped text
);

-- functions
CREATE FUNCTION og_budget_begin(_identity text, _durable boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE was text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'og: the isolation is %, expected read committed', current_setting('transaction_isolation');
    END IF;
    IF NOT EXISTS (SELECT FROM og_budget_facts WHERE name = 'identity' AND value = _identity) THEN
        RAISE EXCEPTION 'og: another budget';
    END IF;
    -- Assigned and not performed: an expression is evaluated without the planner and the executor.
    was := set_config('lock_timeout', '10s', true);
    -- What is claimed must survive a crash of the server; what became of it counts in full where it is lost.
    IF NOT _durable THEN
        was := set_config('synchronous_commit', 'off', true);
    ELSIF current_setting('synchronous_commit') = 'off' THEN
        was := set_config('synchronous_commit', 'on', true);
    END IF;
END $$;

-- In PL/pgSQL, which keeps the plans of its queries: planning them anew took as long as all the rest of a claim.
CREATE FUNCTION og_budget_since(_account text, _since bigint, OUT amount numeric, OUT payments bigint)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    minute bigint := (_since + 59) / 60 * 60;
    hour bigint := (minute + 3599) / 3600 * 3600;
BEGIN
    SELECT coalesce(sum(s.amount), 0), coalesce(sum(s.payments), 0) INTO amount, payments FROM (
        SELECT f.amount, f.payments FROM og_budget_spans f
        WHERE f.account = _account AND f.width = 1 AND f.start >= _since AND f.start < minute
        UNION ALL
        SELECT f.amount, f.payments FROM og_budget_spans f
        WHERE f.account = _account AND f.width = 60 AND f.start >= minute AND f.start < hour
        UNION ALL
        SELECT f.amount, f.payments FROM og_budget_spans f
        WHERE f.account = _account AND f.width = 3600 AND f.start >= hour
    ) s;
END $$;

CREATE FUNCTION og_budget_share(_account text, _part text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT _account || chr(31) || _part
$$;

CREATE FUNCTION og_budget_look(_account text, _part text, _at bigint, _hour boolean, _day boolean) RETURNS og_budget_sums
LANGUAGE plpgsql AS $$
DECLARE sums og_budget_sums;
BEGIN
    SELECT NULL, t.authorized, t.settled, t.in_doubt, 0, 0, 0, t.unanswered, 0, t.stopped INTO sums
    FROM og_budget_totals t WHERE t.account = _account;
    IF NOT FOUND THEN
        sums := (NULL, 0, 0, 0, 0, 0, 0, 0, 0, NULL);
    END IF;
    IF _hour THEN
        SELECT w.amount, w.payments INTO sums.last_hour, sums.payments FROM og_budget_since(_account, _at - 3600) w;
    END IF;
    IF _day THEN
        SELECT w.amount INTO sums.last_day FROM og_budget_since(_account, _at - 86400) w;
    END IF;
    IF _part <> '' THEN
        sums.share := coalesce(
            (SELECT t.authorized FROM og_budget_totals t WHERE t.account = og_budget_share(_account, _part)), 0
        );
    END IF;
    RETURN sums;
END $$;

CREATE FUNCTION og_budget_lock(_account text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM og_budget_totals WHERE account = _account FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO og_budget_totals (account) VALUES (_account) ON CONFLICT DO NOTHING;
        PERFORM FROM og_budget_totals WHERE account = _account FOR UPDATE;
    END IF;
END $$;

CREATE FUNCTION og_budget_add(
    _account text, _part text, _at bigint, _authorized numeric, _settled numeric, _in_doubt numeric, _payments integer,
    _unanswered integer
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE og_budget_totals SET authorized = authorized + _authorized, settled = settled + _settled,
        in_doubt = in_doubt + _in_doubt, unanswered = coalesce(unanswered + _unanswered, 0) WHERE account = _account;
    IF _part <> '' THEN
        INSERT INTO og_budget_totals AS t (account, authorized, settled, in_doubt)
        VALUES (og_budget_share(_account, _part), _authorized, _settled, _in_doubt)
        ON CONFLICT (account) DO UPDATE SET authorized = t.authorized + excluded.authorized,
            settled = t.settled + excluded.settled, in_doubt = t.in_doubt + excluded.in_doubt;
    END IF;
    IF _authorized <> 0 OR _payments <> 0 THEN
        INSERT INTO og_budget_spans AS s (account, width, start, amount, payments)
        VALUES (_account, 1, _at, _authorized, _payments), (_account, 60, _at / 60 * 60, _authorized, _payments),
            (_account, 3600, _at / 3600 * 3600, _authorized, _payments)
        ON CONFLICT (account, width, start) DO UPDATE SET amount = s.amount + excluded.amount,
            payments = s.payments + excluded.payments;
    END IF;
END $$;

CREATE FUNCTION og_budget_fold(_account text, _at bigint, _old bigint, _most integer) RETURNS void LANGUAGE sql AS $$
    DELETE FROM og_budget_spans WHERE account = _account AND start < _at - _old - 3600;
    DELETE FROM og_budget_notes WHERE until < _at - _old;
    DELETE FROM og_budget_entries WHERE id IN (
        SELECT id FROM og_budget_entries WHERE account = _account AND state = 'settled' AND at < _at - _old
        ORDER BY at DESC OFFSET _most
    );
$$;

-- What is not made was judged by the sums that are returned. An entry that is there already was made by the same
-- caller, who lost the connection before it heard of it.
CREATE FUNCTION og_budget_take(
    _identity text, _durable boolean, _id text, _account text, _part text, _amount numeric, _at bigint, _signed text,
    _network text, _total numeric, _per_hour numeric, _per_day numeric, _payments bigint, _share numeric,
    _unanswered integer, _old bigint, _most integer
) RETURNS og_budget_sums LANGUAGE plpgsql AS $$
DECLARE
    sums og_budget_sums;
    made_as bigint;
BEGIN
    PERFORM og_budget_begin(_identity, _durable);
    PERFORM og_budget_lock(_account);
    sums := og_budget_look(
        _account, _part, _at, _per_hour IS NOT NULL OR _payments IS NOT NULL, _per_day IS NOT NULL
    );
    sums.made := sums.stopped IS NULL AND coalesce(sums.unanswered < _unanswered, true)
        AND coalesce(sums.authorized + _amount <= _total, true) AND coalesce(sums.last_hour + _amount <= _per_hour, true)
        AND coalesce(sums.last_day + _amount <= _per_day, true) AND coalesce(sums.payments + 1 <= _payments, true)
        AND coalesce(sums.share + _amount <= _share, true);
    IF sums.made THEN
        INSERT INTO og_budget_entries (id, account, part, amount, at, state, signed, network)
        VALUES (_id, _account, _part, _amount, _at, 'held', _signed, _network)
        ON CONFLICT (id) DO NOTHING RETURNING number INTO made_as;
        IF FOUND THEN
            PERFORM og_budget_add(_account, _part, _at, _amount, 0, 0, 1, 0);
            IF made_as % 256 = 0 THEN
                PERFORM og_budget_fold(_account, _at, _old, _most);
            END IF;
        END IF;
    ELSE
        sums.made := EXISTS (SELECT FROM og_budget_entries WHERE id = _id);
    END IF;
    RETURN sums;
END $$;

-- A claim in two transactions, of which the first lets go of the account without waiting for the disk. The second waits
-- for it, together with whoever waits as well: it writes a line to the log (for nobody), and what stands before that in
-- the log is as durable as that. Held until it was on the disk, the account let through one claim per turn of the disk.
CREATE PROCEDURE og_budget_claim(
    _identity text, _id text, _account text, _part text, _amount numeric, _at bigint, _signed text, _network text,
    _total numeric, _per_hour numeric, _per_day numeric, _payments bigint, _share numeric, _unanswered integer,
    _old bigint, _most integer, INOUT answer json
) LANGUAGE plpgsql AS $$
DECLARE
    sums og_budget_sums;
    written pg_lsn;
BEGIN
    sums := og_budget_take(
        _identity, false, _id, _account, _part, _amount, _at, _signed, _network, _total, _per_hour, _per_day, _payments,
        _share, _unanswered, _old, _most
    );
    answer := to_json(sums);
    COMMIT;
    IF sums.made THEN
        IF current_setting('synchronous_commit') = 'off' THEN
            PERFORM set_config('synchronous_commit', 'on', true);
        END IF;
        written := pg_logical_emit_message(true, 'og', '');
    END IF;
END $$;

CREATE FUNCTION og_budget_move(_identity text, _id text, _to text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    entry og_budget_entries;
    gone boolean := _to = 'released';
    explained boolean;
    -- NULL begins the count anew.
    missed integer := CASE WHEN _to = 'settled' THEN NULL ELSE 0 END;
BEGIN
    PERFORM og_budget_begin(_identity, false);
    PERFORM og_budget_lock(account) FROM og_budget_entries WHERE id = _id;
    SELECT * INTO entry FROM og_budget_entries WHERE id = _id;
    IF NOT FOUND OR entry.state = 'settled' THEN
        RETURN;
    END IF;
    explained := _to = 'settled' AND entry.signed IS NULL;
    IF gone OR explained THEN
        DELETE FROM og_budget_entries WHERE id = _id;
    ELSE
        UPDATE og_budget_entries SET state = _to WHERE id = _id;
    END IF;
    IF _to = 'in doubt' AND entry.state <> _to THEN
        missed := 1;
    END IF;
    PERFORM og_budget_add(
        entry.account, entry.part, entry.at, CASE WHEN gone THEN -entry.amount ELSE 0 END,
        CASE WHEN explained THEN entry.amount ELSE 0 END,
        entry.amount * ((_to = 'in doubt')::integer - (entry.state = 'in doubt')::integer),
        CASE WHEN gone THEN -1 ELSE 0 END, missed
    );
END $$;

CREATE FUNCTION og_budget_correct(_identity text, _id text, _amount numeric) RETURNS void LANGUAGE plpgsql AS $$
DECLARE entry og_budget_entries;
BEGIN
    PERFORM og_budget_begin(_identity, true);
    PERFORM og_budget_lock(account) FROM og_budget_entries WHERE id = _id;
    DELETE FROM og_budget_entries WHERE id = _id RETURNING * INTO entry;
    IF FOUND THEN
        -- Its amount lives on in the sums, and nothing more will be said of it.
        PERFORM og_budget_add(
            entry.account, entry.part, entry.at, _amount - entry.amount, _amount,
            CASE WHEN entry.state = 'in doubt' THEN -entry.amount ELSE 0 END, 0, 0
        );
    END IF;
END $$;

CREATE FUNCTION og_budget_stop(_identity text, _account text, _reason text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM og_budget_begin(_identity, true);
    PERFORM og_budget_lock(_account);
    UPDATE og_budget_totals SET stopped = _reason, unanswered = CASE WHEN _reason IS NULL THEN 0 ELSE unanswered END
    WHERE account = _account;
END $$;

CREATE FUNCTION og_budget_swap(_identity text, _name text, _old text, _new text, _until bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM og_budget_begin(_identity, false);
    IF _old IS NULL THEN
        INSERT INTO og_budget_notes VALUES (_name, _new, _until) ON CONFLICT DO NOTHING;
    ELSIF _new IS NULL THEN
        DELETE FROM og_budget_notes WHERE name = _name AND value = _old;
    ELSE
        UPDATE og_budget_notes SET value = _new, until = _until WHERE name = _name AND value = _old;
    END IF;
    RETURN FOUND;
END $$
