#!/bin/bash
# events.sh URL: as events.py, by curl.
curl -sSN -m 20 "$1/events" | while read -r line; do
	[[ $line ]] || continue
	echo "$line"
	curl -sS -o /dev/null "$1/heard"
done
