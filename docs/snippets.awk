# SPDX-License-Identifier: MIT
# Makes one program of a page's C snippets: those that begin with a declaration (#include, static,
# typedef, enum) go before main(), the others become its body, in order. A snippet with a main() of
# its own is a program already. Snippets keep their lines, so that messages point into the page.
/^```/ {
    inside = !inside && $0 == "```c"
    first = inside
    next
}
!inside { next }
first {
    outside = /^(#include|static|typedef|enum)/
    first = 0
    place = "#line " NR " \"" FILENAME "\"\n"
    if (outside)
        before = before place
    else
        body = body place
}
{
    if (outside)
        before = before $0 "\n"
    else
        body = body "    " $0 "\n"
    if (/^int main/)
        whole = 1
}
END {
    printf "%s", before
    if (!whole)
        printf "\nint main(void)\n{\n%s    return 0;\n}\n", body
}
