/* Counts the letters of a file. */
#include <stdio.h>

void count(FILE *file, unsigned long letters[26]);

int main(int argc, char **argv)
{
    unsigned long letters[26] = {0};
    FILE *file = argc > 1 ? fopen(argv[1], "r") : stdin;
    if (!file) {
        perror(argv[1]);
        return 1;
    }
    count(file, letters);
    for (int i = 0; i < 26; i++)
        if (letters[i])
            printf("%c %lu\n", 'a' + i, letters[i]);
    return 0;
}
