ln -sfn "releases/$release" current.new
mv -T current.new current
touch current/config/wsgi.py
[ "$(readlink current)" = "releases/$release" ]
ls -1dt releases/* | tail -n +6 | xargs -r rm -rf
