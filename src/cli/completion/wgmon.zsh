#compdef wgmon
# Completion of wgmon for zsh, made by: wgmon completion zsh
_wgmon() {
  local output=$(${~words[1]} __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)
  local -a found
  compset -P 1 '-*='
  case $output in
    :file) _files ;;
    :folder) _files -/ ;;
    *)
      found=(${${${(f)output}#$IPREFIX}//:/\\:})
      found=(${found/$'\t'/:})
      _describe value found ;;
  esac
}
if [[ $funcstack[1] == _wgmon ]]; then _wgmon "$@"; else compdef _wgmon wgmon; fi
