#!/bin/sh
# Puts the content of /run/secrets/… into the environment, as Postgres's own image does:
# RECJOBS_DSN_FILE=/run/secrets/shop becomes RECJOBS_DSN. Other values of *_FILE are left alone.
set -eu

for name in $(env | sed -n 's#^\([A-Za-z_][A-Za-z0-9_]*\)_FILE=/run/secrets/.*#\1#p'); do
  file=$(printenv "${name}_FILE")
  if [ ! -r "$file" ]; then
    echo "recjobs: ${name}_FILE names $file, which can't be read" >&2
    exit 2
  fi
  value=$(cat "$file")
  export "$name=$value"
  unset "${name}_FILE"
done

exec "$@"
