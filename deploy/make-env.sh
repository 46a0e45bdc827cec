#!/bin/sh
# Writes .env from .env.example with random secrets, readable by nobody else, and links it into deploy/, so that
# `docker compose` finds it in both folders. An .env that is there is left alone: its passwords are in use.
set -eu
umask 077
cd "$(dirname "$0")/.."

if [ -e .env ]; then
    echo ".env is there already, and stays as it is."
else
    new=$(mktemp .env.XXXXXX)
    trap 'rm -f "$new"' EXIT
    while IFS= read -r line; do
        case $line in
            DB_PASSWORD= | RABBITMQ_PASSWORD= | TIDINGS_SECRET= | TIDINGS_API_KEY=)
                # Letters and digits only: nothing that a shell, a URL or Compose would read as something else.
                random=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
                [ "${#random}" -eq 48 ] || { echo "/dev/urandom gave too little." >&2; exit 1; }
                line=$line$random
                ;;
        esac
        printf '%s\n' "$line"
    done < .env.example > "$new"
    ln "$new" .env # fails, rather than overwrites, when another one was faster
    echo "Wrote .env with new secrets. Next: docker compose up -d"
fi
[ -e deploy/.env ] || ln -s ../.env deploy/.env
