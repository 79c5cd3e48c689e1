# SPDX-License-Identifier: MIT
# Doxygen's filter for the header: a setting gets the text of the table that the library reads
# (-v keys=lib/base/nmi_keys.def), and other constants that have no text get their group's.

BEGIN {
    while ((getline line < keys) > 0) {
        if (line !~ /^NMI_KEY\(/)
            continue
        split(line, parts, /, */)
        name = parts[2]
        # The help is the last string of the line, the unit or list of choices the one before.
        count = split(line, strings, "\"")
        help = strings[count - 1]
        unit = strings[count - 3]
        range = parts[3] ~ /^(INT|REAL|INTS|REALS)$/ ? ", from " parts[4] " to " parts[5] : ""
        if (parts[3] ~ /^(INT|REAL)$/)
            range = range ", default " parts[6]
        about[name] = parts[3] (unit != "" ? " (" unit ")" : "") range ": " help
    }
}

/^\/\*\* .*\*\/$/ {
    group = $0
    gsub(/^\/\*\* | \*\/$/, "", group)
}

/^$/ { group = "" }

/^#define NEUMETA_[A-Z0-9_]+ \(?-?[0-9]+\)?$/ {
    text = group
    name = $2
    if (sub(/^NEUMETA_KEY_/, "", name))
        text = about[name]
    if (text != "")
        $0 = $0 " /**< " text " */"
}

{ print }
