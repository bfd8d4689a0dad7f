#!/bin/sh
# Alarm on the night's count. Belongs to audit, who alone change it; the limit is set in /etc/alarm.
if [ "$1" -gt "$(cat /etc/alarm/limit)" ]; then
    echo "alarm: $1" >> /srv/alarm/alarm.log
    echo "alarm: the total is above the limit, the count goes back"
    exit 1
fi
echo "fine"
