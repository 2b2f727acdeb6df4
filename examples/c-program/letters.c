#include <ctype.h>
#include <stdio.h>

void count(FILE *file, unsigned long letters[26])
{
    int c;
    while ((c = getc(file)) != EOF)
        if (isascii(c) && isalpha(c))
            letters[tolower(c) - 'a']++;
}
