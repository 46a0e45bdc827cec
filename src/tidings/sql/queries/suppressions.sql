-- name: add
-- What is suppressed already stays as it is: the first reason is the one that counts. Answers the places (from 1) in
-- the input of what is new.
WITH v AS MATERIALIZED (
    SELECT DISTINCT ON (p.id, i.channel, lower(i.address)) p.id AS project_id, i.channel, lower(i.address) AS address,
        i.reason, i.detail, i.place
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
        AS i(project_id, channel, address, reason, detail, place)
    JOIN projects p ON p.id = i.project_id
    WHERE length(lower(i.address)) <= 255
    ORDER BY p.id, i.channel, lower(i.address), i.place
), added AS (
    INSERT INTO suppressed_addresses (project_id, channel, address, reason, detail)
    SELECT project_id, channel, address, reason, detail FROM v ORDER BY project_id, channel, address
    ON CONFLICT DO NOTHING
    RETURNING project_id, channel, address, reason
)
SELECT v.place, added.reason FROM added JOIN v USING (project_id, channel, address) ORDER BY v.place

-- name: get
SELECT channel, address, reason, detail, created_at FROM suppressed_addresses
WHERE project_id = $1 AND channel = $2 AND address = lower($3)

-- name: list
-- Newest first, from before $2; null in $3 is any channel. What came in the same instant stays together.
SELECT channel, address, reason, detail, created_at FROM suppressed_addresses
WHERE project_id = $1 AND created_at < $2 AND ($3::text IS NULL OR channel = $3)
ORDER BY created_at DESC FETCH FIRST ($4) ROWS WITH TIES

-- name: remove
DELETE FROM suppressed_addresses WHERE project_id = $1 AND channel = $2 AND address = lower($3)
RETURNING channel, reason

-- name: opt_in
-- Only what the person asked for can the person take back; an address that bounced is as bad as before.
DELETE FROM suppressed_addresses s
USING unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
    AS v(project_id, channel, address, reason, detail, place)
WHERE s.project_id = v.project_id AND s.channel = v.channel AND s.address = lower(v.address) AND s.reason = 'opted_out'
RETURNING v.place, s.reason
