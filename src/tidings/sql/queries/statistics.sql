-- name: grown
-- Tables with more than $1 rows that have grown to several times what PostgreSQL knew when it last looked at them.
SELECT s.relid::regclass::text AS name
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE c.relkind = 'r' AND s.n_live_tup > $1 + 4 * greatest(c.reltuples, 0)
