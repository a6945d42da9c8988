-- The acts on units: split a text, create the drafts of a cut, enact them, withdraw them.
--
-- All run with the caller's rights and name every relation with its schema; nothing here commits or catches errors.

-- Splits a text into its headed sections. The contents, put together in order, are the text again, byte for byte.
--
-- A heading is an ATX heading (# to ######) or one line of text underlined with === or ---. Not headings: what stands
-- in a fenced code block, an HTML comment, <pre>, <script>, <style> or <textarea>, and YAML front matter. Text before the
-- first heading is a section of level 0 when there is any; a text without headings is one such section. Lines may end
-- in LF, CRLF or CR.
create function public.fn_iu_split(p_text text)
returns table (ordinal integer, level integer, heading text, content text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
#variable_conflict use_column
declare
    units_max constant integer := 100000;
    line_end constant text :=
        case when strpos(p_text, E'\n') = 0 and strpos(p_text, E'\r') > 0 then E'\r' else E'\n' end;
    lines text[] := string_to_array(p_text, line_end);
    starts integer[] := '{}';
    levels integer[] := '{}';
    headings text[] := '{}';
    -- The last line that ended a block, so that the next one begins a paragraph.
    edge integer := 0;
    fence text;
    fence_inset integer;
    html_end text;
    found text[];
    mark text;
    above text;
    candidate record;
    n integer;
    line text;
begin
    if p_text is null or p_text !~ '[^\s\ufeff]' then
        raise exception 'the document has no text' using errcode = 'check_violation';
    end if;
    -- A byte order mark is in the way of the first line's heading; the content gets it back below.
    if left(p_text, 1) = E'\uFEFF' then
        lines[1] := substr(lines[1], 2);
    end if;

    -- Front matter: --- on the first line, a key on the second, --- or ... where it ends.
    if lines[1] ~ '^---[ \t]*\r?$' and lines[2] ~ '^[\w"''][^:]*:(\s|$)' then
        for n in 3 .. cardinality(lines)
        loop
            if lines[n] ~ '^(---|\.\.\.)[ \t]*\r?$' then
                edge := n;
                exit;
            end if;
        end loop;
    end if;

    -- Only lines that can begin or end something are looked at one by one.
    for candidate in
        select u.n, u.line
        from unnest(lines) with ordinality as u (line, n)
        where u.line ~ '^ {0,3}(#{1,6}([ \t\r]|$)|(=+|-+)[ \t]*\r?$|<)'
            or u.line ~ '^[ \t]*(([-*+]|\d{1,9}[.)])[ \t]+)*(```|~~~)'
            or u.line ~* '(-->|</(script|pre|style|textarea)>)'
        order by u.n
    loop
        n := candidate.n;
        line := rtrim(candidate.line, E'\r');
        continue when n <= edge;

        if html_end is not null then
            if line ~* html_end then
                html_end := null;
                edge := n;
            end if;
            continue;
        end if;

        if fence is not null then
            mark := substring(line from '^[ \t]*(`{3,}|~{3,})[ \t]*$');
            if left(mark, 1) = left(fence, 1) and length(mark) >= length(fence)
                and length(line) - length(ltrim(line, E' \t')) <= fence_inset + 3 then
                fence := null;
                edge := n;
                continue;
            end if;
            -- A block inside a list item ends with the item.
            continue when length(line) - length(ltrim(line, E' \t')) >= fence_inset;
            fence := null;
        end if;

        found := regexp_match(line,
            '^( {0,3}|[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)+)(`{3,}(?=[^`]*$)|~{3,})');
        if found is not null then
            fence := found[2];
            fence_inset := case when found[1] ~ '\S' then length(found[1]) else 0 end;
            continue;
        end if;

        if line ~ '^ {0,3}<!--' then
            if line !~ '<!--.*-->' then
                html_end := '-->';
            end if;
            edge := n;
            continue;
        end if;
        if line ~* '^ {0,3}<(script|pre|style|textarea)([ \t>]|$)' then
            if line !~* '</(script|pre|style|textarea)>' then
                html_end := '</(script|pre|style|textarea)>';
            end if;
            edge := n;
            continue;
        end if;

        found := regexp_match(line, '^ {0,3}(#{1,6})(?:[ \t]+(.*))?$');
        if found is not null then
            starts := starts || n;
            levels := levels || length(found[1]);
            headings := headings || regexp_replace(btrim(coalesce(found[2], ''), E' \t'), '(^|[ \t]+)#+$', '');
            edge := n;
        elsif line ~ '^ {0,3}(=+|-+)[ \t]*$' and n - 1 > edge then
            above := rtrim(lines[n - 1], E'\r');
            -- One line of plain text, alone: not code, a quotation, a list, HTML, a table or a rule.
            if above ~ '\S'
                and above !~ '^( {4}|\t| {0,3}(>|<|\||[-*+]([ \t]|$)|\d{1,9}[.)]([ \t]|$)))'
                and above !~ '^ {0,3}((\*[ \t]*){3,}|(_[ \t]*){3,}|(-[ \t]*){3,})$'
                and (n - 2 <= edge or lines[n - 2] !~ '\S')
            then
                starts := starts || (n - 1);
                levels := levels || case when line ~ '=' then 1 else 2 end;
                headings := headings || btrim(above, E' \t');
            end if;
            edge := n;
        end if;

        if cardinality(starts) >= units_max then
            raise exception 'the document has more than % headings', units_max - 1 using errcode = 'check_violation';
        end if;
    end loop;

    -- Blank lines before the first heading go with it; text before it is a section of its own.
    if cardinality(starts) > 0
        and not exists (select from unnest(lines[1 : starts[1] - 1]) as u (line) where u.line ~ '\S')
    then
        starts[1] := 1;
    else
        starts := 1 || starts;
        levels := 0 || levels;
        headings := array_prepend(null, headings);
    end if;

    if left(p_text, 1) = E'\uFEFF' then
        lines[1] := E'\uFEFF' || lines[1];
    end if;
    return query
        with section as (
            select s.ordinal::integer as ordinal, s.first_line, s.level, s.heading
            from unnest(starts, levels, headings) with ordinality as s (first_line, level, heading, ordinal)
        ), placed as (
            select u.line, u.n, max(s.ordinal) over (order by u.n rows unbounded preceding) as ordinal
            from unnest(lines) with ordinality as u (line, n)
                left join section as s on s.first_line = u.n
        ), joined as (
            select p.ordinal, string_agg(p.line, line_end order by p.n) as content
            from placed as p
            group by p.ordinal
        )
        select s.ordinal, s.level, s.heading,
            j.content || case when s.ordinal < cardinality(starts) then line_end else '' end
        from section as s
            join joined as j on j.ordinal = s.ordinal
        order by s.ordinal;
end
$$;

-- Gives the hash by which the ledger knows a unit's place and heading (its text has the hash in unit_version).
create function public.fn_iu_digest(p_unit public.information_unit)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    select encode(sha256(convert_to(jsonb_build_array(
        p_unit.unit_id, p_unit.change_set_id, p_unit.document_id, p_unit.document_title,
        p_unit.version_no, p_unit.ordinal, p_unit.level, p_unit.heading)::text, 'UTF8')), 'hex')
$$;

-- Cuts a document: one draft unit, version and log row for each section. Gives the new change set.
create function public.fn_iu_create(p_document text, p_title text, p_text text, p_run uuid)
returns table (change_set_id uuid, version_no integer, units integer)
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
as $$
#variable_conflict use_column
declare
    new_change_set constant uuid := gen_random_uuid();
    new_version integer;
    in_force integer;
    unit_count integer;
begin
    select coalesce(max(u.version_no), 0) + 1, max(u.version_no) filter (where u.state = 'enacted')
    into new_version, in_force
    from public.information_unit as u
    where u.document_id = p_document;

    with section as materialized (
        select gen_random_uuid() as unit_id, gen_random_uuid() as version_id,
            s.ordinal, s.level, s.heading, s.content,
            row_number() over (partition by s.level, s.heading order by s.ordinal) as turn
        from public.fn_iu_split(p_text) as s
    ), superseded as (
        select v.version_id, u.level, u.heading,
            row_number() over (partition by u.level, u.heading order by u.ordinal) as turn
        from public.information_unit as u
            join public.unit_version as v on v.unit_id = u.unit_id
        where u.document_id = p_document and u.version_no = in_force
    ), unit as (
        insert into public.information_unit
            (unit_id, change_set_id, run_id, document_id, document_title, version_no, ordinal, level, heading)
        select s.unit_id, new_change_set, p_run, p_document, p_title, new_version, s.ordinal, s.level, s.heading
        from section as s
    ), version as (
        insert into public.unit_version (version_id, unit_id, change_set_id, supersedes, content, content_sha256)
        select s.version_id, s.unit_id, new_change_set, o.version_id, s.content,
            encode(sha256(convert_to(s.content, 'UTF8')), 'hex')
        from section as s
            left join superseded as o
                on o.level = s.level and coalesce(o.heading, '') = coalesce(s.heading, '') and o.turn = s.turn
    ), logged as (
        insert into public.iu_lifecycle_log (unit_id, change_set_id, run_id, from_state, to_state, reason)
        select s.unit_id, new_change_set, p_run, null, 'draft', 'cut from the document'
        from section as s
    )
    select count(*) into unit_count from section;

    return query select new_change_set, new_version, unit_count;
end
$$;

-- Enacts a change set: all its units or none. Gives how many there are. They are immutable from then on.
create function public.fn_iu_enact(p_change_set uuid, p_run uuid)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
    total integer;
    drafts integer;
    acted_at constant timestamptz := clock_timestamp();
begin
    perform from public.information_unit as u where u.change_set_id = p_change_set order by u.ordinal for update;
    select count(*), count(*) filter (where u.state = 'draft')
    into total, drafts
    from public.information_unit as u
    where u.change_set_id = p_change_set;
    if total = 0 or drafts < total then
        raise exception '% of the % units of the change set are drafts: %', drafts, total, p_change_set
            using errcode = 'restrict_violation', hint = 'only a change set that is all draft can be enacted';
    end if;

    if not exists (
        select from cutter_governance.cut_change_set as c
            join cutter_governance.manifest_envelope as m on m.change_set_id = c.change_set_id
            join cutter_governance.dot_pair_signature as p on p.change_set_id = c.change_set_id
        where c.change_set_id = p_change_set and c.unit_count = total
    ) then
        raise exception 'the change set is not recorded and signed by two principals: %', p_change_set
            using errcode = 'restrict_violation';
    end if;
    if not exists (
        select from cutter_governance.verify_result as r where r.change_set_id = p_change_set and r.passed
    ) then
        raise exception 'the change set has no verification that passed: %', p_change_set
            using errcode = 'restrict_violation';
    end if;
    if exists (select from cutter_governance.review_decision as d where d.change_set_id = p_change_set) then
        raise exception 'the change set was reverted by a decision: %', p_change_set
            using errcode = 'restrict_violation';
    end if;

    update public.unit_version as v
    set state = 'enacted', enacted_at = acted_at
    where v.change_set_id = p_change_set;
    update public.information_unit as u
    set state = 'enacted', enacted_at = acted_at, enacted_by = p_run
    where u.change_set_id = p_change_set;
    insert into public.iu_lifecycle_log (unit_id, change_set_id, run_id, from_state, to_state, reason)
    select u.unit_id, p_change_set, p_run, 'draft', 'enacted', 'the cut was verified'
    from public.information_unit as u
    where u.change_set_id = p_change_set;
    return total;
end
$$;

-- Withdraws a change set that is all draft; its rows stay and say by which run and why. Gives how many units there are.
create function public.fn_iu_withdraw(p_change_set uuid, p_run uuid, p_reason text)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
    total integer;
    drafts integer;
    acted_at constant timestamptz := clock_timestamp();
begin
    perform from public.information_unit as u where u.change_set_id = p_change_set order by u.ordinal for update;
    select count(*), count(*) filter (where u.state = 'draft')
    into total, drafts
    from public.information_unit as u
    where u.change_set_id = p_change_set;
    if total = 0 or drafts < total then
        raise exception '% of the % units of the change set are drafts: %', drafts, total, p_change_set
            using errcode = 'restrict_violation', hint = 'only a change set that is all draft can be withdrawn';
    end if;

    update public.unit_version as v
    set state = 'withdrawn', withdrawn_at = acted_at
    where v.change_set_id = p_change_set;
    update public.information_unit as u
    set state = 'withdrawn', withdrawn_at = acted_at,
        withdrawn_by = p_run, withdrawn_reason = p_reason
    where u.change_set_id = p_change_set;
    insert into public.iu_lifecycle_log (unit_id, change_set_id, run_id, from_state, to_state, reason)
    select u.unit_id, p_change_set, p_run, 'draft', 'withdrawn', p_reason
    from public.information_unit as u
    where u.change_set_id = p_change_set;
    return total;
end
$$;

revoke execute on function
    public.fn_iu_split(text),
    public.fn_iu_digest(public.information_unit),
    public.fn_iu_create(text, text, text, uuid),
    public.fn_iu_enact(uuid, uuid),
    public.fn_iu_withdraw(uuid, uuid, text)
from public;
grant execute on function
    public.fn_iu_split(text),
    public.fn_iu_digest(public.information_unit),
    public.fn_iu_create(text, text, text, uuid),
    public.fn_iu_enact(uuid, uuid),
    public.fn_iu_withdraw(uuid, uuid, text)
to cutover_executor;
