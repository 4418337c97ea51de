# Completion for sockd(8) and its programs, bash.
_sockd() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} options
    case ${COMP_WORDS[0]##*/} in
        sockd)
            case $before in
                --conf | --route | --upstream | --settings | --pid-file) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
                --log) mapfile -t COMPREPLY < <(compgen -W 'syslog journal stderr' -- "$word"); return ;;
                --runtime-dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
                --listen) return ;;
            esac
            options='-i -I -ver --ver --json --conf --route --upstream --settings --listen --pid-file --log --daemon --check --trial
                --reload --force --takeover --runtime-dir
                -h --help -V --version'
            ;;
        test_sockd_conf)
            case $before in
                -R | -C | -U | --upstream | --batch | --services) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
            esac
            options='-I -i -B -R -C -U --upstream -F --explain --lint --bind --socks5 --password --groups --batch --src-name --dst-name --services
                -h --help -V --version'
            ;;
        sockd-probe)
            case $before in
                --role) mapfile -t COMPREPLY < <(compgen -W 'session ident resolver upstream' -- "$word"); return ;;
                --layer)
                    mapfile -t COMPREPLY < <(compgen -W 'user namespaces landlock unfiltered filter full' -- "$word")
                    return
                    ;;
                --sockd | --worker) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
            esac
            options='--all --role --layer --acts --tsv --list --sockd --worker -h --help -V --version'
            ;;
        sockd-migrate)
            case $before in
                --out) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
            esac
            options='--out -h --help -V --version'
            ;;
        sockd-passwd)
            case $before in
                -f | --file) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
                --hash)
                    mapfile -t COMPREPLY < <(compgen -W 'yescrypt sha512crypt bcrypt argon2id' -- "$word")
                    return
                    ;;
                sockd-passwd)
                    if [[ $word != -* ]]; then
                        mapfile -t COMPREPLY < <(compgen -W 'add change remove list verify groups' -- "$word")
                        return
                    fi
                    ;;
            esac
            options='-f --file --hash --cost --groups --password-fd -h --help -V --version'
            ;;
        sockdctl)
            case $before in
                -f | --folder) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
                --host | --user | --to | --rule | --process) return ;;
                sockdctl)
                    if [[ $word != -* ]]; then
                        mapfile -t COMPREPLY < <(
                            compgen -W 'list show kill stats workers metrics rules would drain resume' -- "$word"
                        )
                        return
                    fi
                    ;;
            esac
            options='-f --folder --host --user --to --rule --process --json --watch --conf --services -h --help -V --version'
            ;;
        sockd-exporter)
            case $before in
                --socket) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
                --listen) return ;;
            esac
            options='--socket --listen --print -h --help -V --version'
            ;;
        make_*) options='--services -h --help -V --version' ;;
        *) options='-h --help -V --version' ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}
complete -o filenames -F _sockd sockd sockd-probe test_sockd_conf sockd-migrate sockd-passwd sockdctl sockd-exporter make_sockdfc make_sockdfr \
    make_socksfc dump_sockdfc dump_sockdfr dump_socksfc
